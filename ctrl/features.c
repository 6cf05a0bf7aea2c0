// The features that put steps into ports' walks, in the order in which steps of one stage stand.
#include <stddef.h>

#include "dp/port_steps.h"
#include "dp/vlan.h"
#include "ext/ext_feature.h"

const struct snap_feature *const snap_features[] = {
    &port_feature,
    &vlan_feature,
    &ext_feature,
    NULL,
};
