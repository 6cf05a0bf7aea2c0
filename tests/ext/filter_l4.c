// A filter that decides by ports, and never wants to see a packet.
#define NAME  "filter-l4"
#define KIND  EVS_FILTER
#define READS (EVS_READ_IP | EVS_READ_PORTS)
#define FLOWS_ONLY

#include "scripted.h"
