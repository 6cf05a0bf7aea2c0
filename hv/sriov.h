// Functions of a NIC by SR-IOV as bypasses (dp/bypass.h), written INTERFACE/NUMBER: the interface of the physical function
// and the number of the virtual one.
//
// Offered: its link follows the NIC's, with the port's access VLAN and, where the port has an address of its own, that
// address and the check for it. Withdrawn: its link is down, upon which the guest's failover driver uses the port's
// virtio device. By rtnetlink (RTM_SETLINK, IFLA_VF_*).
#pragma once

#include "dp/bypass.h"

extern const struct bypass_driver sriov_driver;
