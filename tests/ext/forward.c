// A forward extension that reads all that there is.
#define NAME  "forward"
#define KIND  EVS_FORWARD
#define READS (EVS_READ_IP | EVS_READ_PORTS)

#include "scripted.h"
