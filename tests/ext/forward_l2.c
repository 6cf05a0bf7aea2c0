// A forward extension that decides by Ethernet headers.
#define NAME  "forward-l2"
#define KIND  EVS_FORWARD
#define READS EVS_READ_ETHERNET
#define FLOWS_ONLY

#include "scripted.h"
