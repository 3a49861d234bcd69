"""What the kernel tells of a network of its own, and when the destination is tried after that."""

import json
import math
import os
import subprocess
import sys
from itertools import pairwise

import pytest
from program import eventually
from sticky_pi_uploader.watch.network import JITTER, SECOND_RETRY, SPACING, RetrySchedule
from tracing import traced
from two_networks import LINK, TwoNetworks, reason_to_skip

LISTEN = """if True:
    import json, sys
    from sticky_pi_uploader.watch.network import Network
    with Network() as network:
        assert network.descriptor is not None
        print("listening", flush=True)
        for _ in sys.stdin:
            print(json.dumps(network.has_changed()), flush=True)
"""


class Listener:
    """A process in the trap's network that tells after each change whether that may have made it better."""

    def __init__(self, networks):
        self._networks = networks
        self._process = subprocess.Popen(
            [*networks.of_trap, sys.executable, "-c", LISTEN],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PATH": os.environ["PATH"]},
        )
        assert self._process.stdout.readline() == "listening\n"

    def hears(self, *changes):
        """Make changes, and tell whether they are heard of."""
        self._networks.trap_ip(*changes)
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def hears_in_time(self, *changes):
        """Make changes that take effect a little later, and wait until they are heard of."""
        if not self.hears(*changes):
            eventually(self.hears)
        return True

    def close(self):
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()


@pytest.fixture(scope="module")
def networks():
    """Both networks, with a link that runs."""
    if (reason := reason_to_skip()) is not None:
        pytest.skip(reason)
    with TwoNetworks() as networks:
        networks.trap_ip(f"link set {LINK} up")
        eventually(networks.is_joined)
        yield networks


@pytest.fixture
def listener(networks):
    listener = Listener(networks)
    try:
        yield listener
    finally:
        listener.close()
        networks.trap_ip(f"addr flush dev {LINK} scope global")


def test_a_link_that_runs_is_heard_of_each_time_that_it_does_so_again(networks, listener):
    assert not listener.hears(f"link set {LINK} down")
    assert listener.hears_in_time(f"link set {LINK} up")
    assert not listener.hears(f"link set {LINK} alias one")
    networks.server_ip("link set downlink down")
    eventually(lambda: not networks.is_joined())
    assert not listener.hears()
    networks.server_ip("link set downlink up")
    assert listener.hears_in_time()


def test_an_address_is_heard_of_once_and_again_after_it_was_gone(listener):
    for address in ("192.0.2.7/24", "2001:db8::7/64"):
        assert listener.hears_in_time(f"addr add {address} dev {LINK} valid_lft 1000 preferred_lft 1000 nodad")
        assert not listener.hears(f"addr change {address} dev {LINK} valid_lft 2000 preferred_lft 2000 nodad")
        assert not listener.hears(f"addr del {address} dev {LINK}")
        assert listener.hears_in_time(f"addr add {address} dev {LINK} nodad")


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.7/8 dev lo",
        f"169.254.3.4/16 dev {LINK} scope global",
        f"169.254.3.4/16 dev {LINK} scope link",
        f"fe80::7/64 dev {LINK} nodad",
    ],
)
def test_an_address_that_leads_nowhere_is_none(listener, address):
    assert not listener.hears(f"addr add {address}")
    assert not listener.hears(f"addr del {address.removesuffix('nodad')}")


def test_an_address_that_another_may_have_is_heard_of_once_it_can_be_used(listener):
    assert not listener.hears(f"addr add 2001:db8::8/64 dev {LINK}")
    assert listener.hears_in_time()


def test_of_routes_only_a_default_one_is_heard_of(listener):
    listener.hears(f"addr add 192.0.2.7/24 dev {LINK}")
    listener.hears_in_time(f"addr add 2001:db8::7/64 dev {LINK} nodad")
    assert not listener.hears(f"route add 198.51.100.0/24 via 192.0.2.1 dev {LINK}")
    assert not listener.hears("route add unreachable default metric 4000")
    assert listener.hears(f"route add default via 192.0.2.1 dev {LINK}")
    assert not listener.hears("route del default via 192.0.2.1")
    assert listener.hears(f"route add default via 2001:db8::1 dev {LINK}")
    assert not listener.hears("route del unreachable default metric 4000")


def test_messages_that_were_lost_count_as_one_that_was_heard(listener):
    listener.hears(f"addr add 192.0.2.7/24 dev {LINK}")
    route = f"198.51.100.0/24 via 192.0.2.1 dev {LINK}"
    assert not listener.hears(f"route add {route}", f"route del {route}")
    assert listener.hears(*[f"route add {route}", f"route del {route}"] * 2000)
    assert not listener.hears()
    assert listener.hears(f"addr add 192.0.2.8/24 dev {LINK}")


def test_where_the_kernel_does_not_tell_that_is_said_and_nothing_is_heard():
    script = (
        "import logging; logging.basicConfig(level=logging.DEBUG)\n"
        "from sticky_pi_uploader.watch.network import Network\n"
        "with Network() as network: print(network.descriptor, network.is_time(), network.wait())"
    )
    fails = ["-e", "trace=socket", "-e", "inject=socket:error=EAFNOSUPPORT", "-o", "/dev/null"]
    done = traced(fails, [sys.executable, "-c", script])
    assert done.stdout == "None False inf\n"
    said = "the kernel doesn't report changes of the network (Address family not supported by protocol)"
    assert done.stderr.count(said) == 1


# --- when to try again -------------------------------------------------------------------------------------------


class Now:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def now():
    return Now()


def test_a_change_is_followed_by_a_look_within_five_seconds_and_another_a_little_later(now):
    schedule = RetrySchedule(monotonic=now)
    drawn = []
    for _ in range(200):
        now.now += SPACING
        schedule.plan()
        drawn.append(schedule.wait())
        now.now += schedule.wait()
        assert schedule.is_time()
        assert not schedule.is_time()
        assert schedule.wait() == pytest.approx(SECOND_RETRY)
        now.now += SECOND_RETRY
        assert schedule.is_time()
        assert schedule.wait() == math.inf
        assert not schedule.is_time()
    assert 0 <= min(drawn) < 1
    assert 4 < max(drawn) <= JITTER


def test_many_changes_at_once_are_one(now):
    schedule = RetrySchedule(monotonic=now, draw=lambda _, most: most)
    for _ in range(100):
        schedule.plan()
        now.now += 0.01
    assert schedule.wait() == pytest.approx(JITTER - 1)  # none puts it off
    now.now += JITTER - 0.9
    assert [schedule.is_time(), schedule.is_time()] == [True, False]


def test_a_network_that_changes_all_the_time_is_tried_once_in_a_few_seconds(now):
    schedule, tried = RetrySchedule(monotonic=now, draw=lambda least, _: least), []
    for _ in range(10_000):
        now.now += 0.01
        schedule.plan()
        if schedule.is_time():
            tried.append(now.now)
    assert all(later - earlier >= SPACING - 0.001 for earlier, later in pairwise(tried))
    assert len(tried) == pytest.approx(100 / SPACING, abs=2)


def test_a_change_after_the_first_look_is_followed_by_a_first_look_again(now):
    schedule = RetrySchedule(monotonic=now, draw=lambda least, _: least)
    schedule.plan()
    assert schedule.is_time()
    now.now += 10
    schedule.plan()
    assert schedule.is_time()
    assert schedule.wait() == SECOND_RETRY
