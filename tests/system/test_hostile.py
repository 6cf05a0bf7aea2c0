"""A guest that keeps to no rule hurts only itself, whatever it says or writes into its rings.

Each test is one attack of bench-front (--list-attacks says what each does), see hostile_rig.py for the topology. The
daemon is one for all as long as it lives; EVS_ATTACK_S makes attacks longer.
A single attack is checked as a whole with EVS_ATTACKS=NAME, NAME being the start of its name.
"""

import os
import shutil
import tempfile

import pytest
from conftest import Daemon
from hostile_rig import Lab, attacks

ATTACK_S = float(os.environ.get("EVS_ATTACK_S", "0.05"))
ATTACKS = [a for a in attacks() if a[0].startswith(os.environ.get("EVS_ATTACKS", ""))]
CHECKED_EVERY = 1 if "EVS_ATTACKS" in os.environ else 8  # attacks; what takes long is looked at behind so many

# The library (DPDK 22.11) loses the descriptors that come with a message which it refuses before anybody else sees it.
LOSE_DESCRIPTORS = {"in-flight", "msg-fds", "msg-random"}


@pytest.fixture(scope="module")
def labs():
    """The lab that is in use; empty before the first and behind a broken one."""
    made = []
    yield made
    for one in made:
        one.end()
        shutil.rmtree(one.daemon.dir, ignore_errors=True)


@pytest.fixture
def lab(labs, request):
    if labs and labs[0].broken:
        one = labs.pop()
        one.end()
        shutil.rmtree(one.daemon.dir, ignore_errors=True)
    if not labs:
        labs.append(Lab(Daemon(tempfile.mkdtemp(prefix="evs-", dir="/tmp"))))
    one = labs[0]
    one.broken = True  # until the test says otherwise
    yield one


@pytest.mark.parametrize(("name", "rings"), ATTACKS)
def test_attack(lab, name, rings):
    lab.attack(name, rings, ATTACK_S)
    lab.check_alive()
    if name in LOSE_DESCRIPTORS:
        lab.accept_descriptors()
    if ATTACKS.index((name, rings)) % CHECKED_EVERY == CHECKED_EVERY - 1 or (name, rings) == ATTACKS[-1]:
        lab.check_attaches_again(rings)
        lab.check_good()
        lab.check_nothing_is_left()
    lab.broken = False
