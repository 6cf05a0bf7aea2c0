// I1 with the steps that every switch has: flows are told apart by their Ethernet part.
#include "differential.h"

#include <stddef.h>

int main(void)
{
	return differential_run("differential", NULL);
}
