// A filter that changes bytes.
#define NAME  "modifier"
#define KIND  EVS_FILTER
#define READS (EVS_READ_IP | EVS_READ_PORTS)
#define FLAGS EVS_MODIFIES

#include "scripted.h"
