// The features that put steps into ports' walks, in the order in which steps of one stage stand.
#include <stddef.h>

#include "port_steps.h"
#include "vlan.h"

const struct snap_feature *const snap_features[] = {
    &port_feature,
    &vlan_feature,
    NULL,
};
