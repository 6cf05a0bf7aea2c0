// A capture that reads all that there is.
#define NAME  "capture"
#define KIND  EVS_CAPTURE
#define READS (EVS_READ_IP | EVS_READ_PORTS)

#include "scripted.h"
