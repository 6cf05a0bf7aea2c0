// A filter that only sends.
#define NAME  "sender"
#define KIND  EVS_FILTER
#define READS EVS_READ_ETHERNET
#define BLIND

#include "scripted.h"
