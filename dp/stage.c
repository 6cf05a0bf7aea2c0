// Names of the stages, as traces show them.
#include "stage.h"

static const char *const names[N_STAGES] = {
    [STAGE_CLASSIFY] = "classify",
    [STAGE_CAPTURE_IN] = "capture",
    [STAGE_FILTER_IN] = "filter",
    [STAGE_POLICY_IN] = "ingress policy",
    [STAGE_LEARN] = "learn",
    [STAGE_FORWARD] = "forward",
    [STAGE_TUNNEL] = "tunnel",
    [STAGE_FORWARD_OUT] = "forward out",
    [STAGE_POLICY_OUT] = "egress policy",
    [STAGE_FILTER_OUT] = "egress filter",
    [STAGE_CAPTURE_OUT] = "egress capture",
    [STAGE_TRANSMIT] = "transmit",
};

const char *stage_name(enum stage s)
{
	return names[s];
}
