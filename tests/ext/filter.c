// A filter that reads all that there is.
#define NAME  "filter"
#define KIND  EVS_FILTER
#define READS (EVS_READ_IP | EVS_READ_PORTS)

#include "scripted.h"
