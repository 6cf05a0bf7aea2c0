// A filter without flow calls: it sees each packet.
#define NAME  "watcher"
#define KIND  EVS_FILTER
#define READS EVS_READ_ETHERNET
#define PACKETS_ONLY

#include "scripted.h"
