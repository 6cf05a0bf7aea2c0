// The next version of the filter.
#define NAME    "filter"
#define VERSION "2.0"
#define KIND    EVS_FILTER
#define READS   (EVS_READ_IP | EVS_READ_PORTS)

#include "scripted.h"
