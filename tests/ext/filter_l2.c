// A filter that decides by Ethernet headers, and never wants to see a packet.
#define NAME  "filter-l2"
#define KIND  EVS_FILTER
#define READS EVS_READ_ETHERNET
#define FLOWS_ONLY

#include "scripted.h"
