// A filter that decides by addresses, and never wants to see a packet.
#define NAME  "filter-l3"
#define KIND  EVS_FILTER
#define READS EVS_READ_IP
#define FLOWS_ONLY

#include "scripted.h"
