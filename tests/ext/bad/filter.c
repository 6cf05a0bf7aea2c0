// Does what it is told to do, where it is told to.
#include "caller.h"
