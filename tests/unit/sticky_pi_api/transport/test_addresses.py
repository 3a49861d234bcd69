"""Which of a host's addresses is spoken to: the first one that answers, and none where a link may not lead."""

import os
import resource
import socket
import time
from contextlib import ExitStack, contextmanager

import pytest
from scripts import ask, says
from sticky_pi_api.exceptions import StrayLinkError, UnreachableError
from sticky_pi_api.image_parser import ImageParser
from sticky_pi_api.put_images.holdings import Claim, Holding
from sticky_pi_api.transport.addresses import STAGGER, connect, is_near, leads_near
from sticky_pi_api.transport.cancellation import Guard, Timeouts
from sticky_pi_api.transport.credentials import SignedUrl

PATIENT = Timeouts(connect=40.0, read=40.0, whole=60.0)
LOOK_UP = socket.getaddrinfo


@pytest.fixture
def silent():
    """Return the address of something that no connection gets through to, as where packets vanish."""
    with ExitStack() as stack:

        def make(host="127.0.0.1"):
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            full = stack.enter_context(socket.create_server((host, 0), family=family, backlog=0))
            stack.enter_context(socket.create_connection(full.getsockname()[:2]))
            return full.getsockname()[:2]

        yield make


@pytest.fixture
def named(monkeypatch):
    """Have names stand for addresses, each a list of (host, port) for the first, the second … time."""
    names = {}

    def look_up(host, port, *args, **options):
        if host not in names:
            return LOOK_UP(host, port, *args, **options)
        rounds = names[host]
        answers = rounds.pop(0) if len(rounds) > 1 else rounds[0]
        return [one for address in answers for one in LOOK_UP(address[0], address[1] or port, type=socket.SOCK_STREAM)]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)

    def name(host, *rounds):
        names[host] = list(rounds)
        return host

    return name


def test_an_address_that_is_silent_does_not_hold_up_the_others(http, answering, named, silent):
    port, _ = answering(says(b"[1]"))
    host = named("both.example", [silent(), silent(), ("127.0.0.1", port)])
    began = time.monotonic()
    assert ask(http(f"http://{host}:1", timeouts=PATIENT)).body == b"[1]"
    # By turns, each would have had 13 s.
    assert time.monotonic() - began < 10


def test_families_take_turns(http, answering, named, silent):
    port, _ = answering(says(b"[1]"))
    host = named("both.example", [*[silent("::1") for _ in range(30)], ("127.0.0.1", port)])
    began = time.monotonic()
    assert ask(http(f"http://{host}:1", timeouts=PATIENT)).body == b"[1]"
    assert time.monotonic() - began < 5


def test_an_address_that_refuses_is_followed_by_the_next_at_once(http, answering, named):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        refusing = closed.getsockname()
    port, _ = answering(says(b"[1]"))
    host = named("both.example", [refusing, ("127.0.0.1", port)])
    assert ask(http(f"http://{host}:1")).body == b"[1]"
    with pytest.raises(UnreachableError, match="refuses connections"):
        ask(http(f"http://{named('one.example', [refusing, refusing])}:1"))


def test_an_address_that_cant_be_tried_at_all_is_given_up_at_once(http, named):
    """As where there is no network: nothing is waited for, as nothing could come."""
    began = time.monotonic()
    with pytest.raises(UnreachableError, match="Network is unreachable"):
        ask(http(f"http://{named('one.example', [('255.255.255.255', 1)])}:1", timeouts=PATIENT))
    assert time.monotonic() - began < 20


def test_a_host_all_of_whose_addresses_are_silent_is_given_up_in_time(http, named, silent):
    host = named("both.example", [silent(), silent()])
    with pytest.raises(UnreachableError, match="doesn't answer"):
        ask(http(f"http://{host}:1", timeouts=Timeouts(connect=0.6, whole=30.0)))


def test_a_host_without_any_address_cannot_be_reached(http, named):
    with pytest.raises(UnreachableError, match="its name isn't known"):
        ask(http(f"http://{named('none.example', [])}:1"))


def test_addresses_are_asked_for_anew_with_each_connection(http, answering, named):
    """As where the name server knew none, or old ones, when the trap woke."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        refusing = closed.getsockname()
    port, _ = answering(says(b"[1]"))
    host = named("moved.example", [], [refusing], [("127.0.0.1", port)])
    client = http(f"http://{host}:1")
    for why in ("its name isn't known", "refuses connections"):
        with pytest.raises(UnreachableError, match=why):
            ask(client)
    assert ask(client).body == b"[1]"


def test_the_address_that_is_slower_is_let_go(http, answering, named):
    """Only one request is sent, whichever of two connections is there first."""
    port, requests = answering(says(b"[1]"))
    host = named("both.example", [("127.0.0.1", port), ("127.0.0.1", port)])
    assert ask(http(f"http://{host}:1")).body == b"[1]"
    assert len(requests) == 1


@contextmanager
def descriptors(more):
    """Let this process open so many descriptors more."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    # The kernel gives the lowest free numbers, and there may be some between those in use.
    free = [os.dup(0) for _ in range(more + 1)]
    for descriptor in free:
        os.close(descriptor)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free[-1], limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.parametrize("more", range(3))
def test_descriptors_that_run_out_while_connecting_are_an_oserror(more):
    """The first one is of the connection, the others let it be broken off."""
    with socket.create_server(("127.0.0.1", 0)) as server, Guard(30.0) as guard:
        with descriptors(more), pytest.raises(OSError, match="Too many open files"):
            connect(guard, *server.getsockname(), seconds=30.0)
        connect(guard, *server.getsockname(), seconds=30.0).close()


def test_a_second_address_without_descriptors_leaves_nothing_open_and_the_first_its_chance(named, silent):
    host = named("both.example", [silent(), silent()])
    with Guard(30.0) as guard:
        before = os.listdir("/proc/self/fd")
        # Two for the first address. Of the three that the second takes, the last one is missing.
        with descriptors(4), pytest.raises(TimeoutError):
            connect(guard, host, 1, seconds=3 * STAGGER)
        guard.cancellation.watch()
        assert os.listdir("/proc/self/fd") == before


# Where links lead


NEAR = (
    *("127.0.0.1", "127.1.2.3", "169.254.169.254", "0.0.0.0", "::1", "::", "fe80::1", "fe80::1%lo"),
    *("::ffff:127.0.0.1", "::ffff:169.254.1.1", "::ffff:0.0.0.0", "::127.0.0.1"),
)
FAR = ("192.0.2.1", "10.0.0.1", "192.168.1.1", "2001:db8::1", "fd00::1", "::ffff:10.0.0.1")


def test_addresses_of_this_machine_and_of_its_segment_are_near():
    assert [address for address in NEAR if not is_near(address)] == []
    assert [address for address in FAR if is_near(address)] == []


def test_names_that_say_so_themselves_are_near():
    said = [*NEAR[:4], "localhost", "LOCALHOST.", "a.localhost", "127.1", "2130706433", "0x7f.1", "0177.0.0.1"]
    assert [name for name in said if not leads_near(name)] == []
    assert [name for name in (*FAR, "example.org", "localhost.example", "x" * 70) if leads_near(name)] == []


def peek(one, url, giver="http://server.example"):
    return one.peek(SignedUrl.of(url, giver))


@pytest.mark.parametrize("host", ["127.0.0.2", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "127.1", "near"])
def test_a_link_to_this_machine_is_not_followed_unless_the_server_is_there(http, answering, named, host):
    address = {"[::1]": "::1", "127.0.0.2": "127.0.0.2"}.get(host, "127.0.0.1")
    named("near", [("127.0.0.1", None)])
    port, requests = answering(says(b"secret"), address=address)
    one = http("http://server.example")
    with pytest.raises(StrayLinkError, match="leads to this machine"):
        peek(one, f"http://{host}:{port}/admin")
    with pytest.raises(StrayLinkError):
        one.get(SignedUrl.of(f"http://{host}:{port}/admin", one.address), list)
    assert requests == []


def test_a_name_that_stands_for_near_and_far_is_asked_where_it_is_far(http, answering, named):
    port, requests = answering(says(b"secret"))
    # TEST-NET-1 is nowhere.
    host = named("mixed.example", [("127.0.0.1", port), ("192.0.2.1", port)])
    with pytest.raises(UnreachableError):
        peek(http("http://server.example", timeouts=Timeouts(connect=0.3)), f"http://{host}/x")
    assert requests == []


def test_a_name_that_changes_its_mind_is_found_out(http, answering, named):
    port, requests = answering(says(b"[]"), says(b"secret"))
    host = named("server.example", [("192.0.2.1", port)], [("127.0.0.1", port)])
    with pytest.raises(UnreachableError):
        ask(http(f"http://{host}:1", timeouts=Timeouts(connect=0.2)))
    with pytest.raises(StrayLinkError):
        peek(http(f"http://{host}:1"), f"http://{host}:{port}/x")
    assert requests == []


def test_a_server_on_this_machine_may_have_its_storage_at_the_same_address_only(http, answering):
    port, _ = answering(says(b"[]"))
    storage, asked = answering(says(b"x"))
    elsewhere, never = answering(says(b"secret"), address="127.0.0.2")
    one = http(f"http://127.0.0.1:{port}")
    ask(one)
    assert peek(one, f"http://127.0.0.1:{storage}/x", one.address).status == 200
    with pytest.raises(StrayLinkError):
        peek(one, f"http://127.0.0.2:{elsewhere}/x", one.address)
    assert (len(asked), never) == (1, [])


def test_a_proxy_is_not_asked_for_what_is_near_and_is_no_server_itself(http, answering, monkeypatch):
    port, requests = answering(says(b"[]"), says(b"x"))
    other, never = answering(says(b"secret"))
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
    one = http("http://server.example")
    ask(one)
    with pytest.raises(StrayLinkError):
        peek(one, f"http://localhost:{other}/x")
    assert peek(one, "http://storage.example/x").status == 200
    monkeypatch.delenv("http_proxy")
    with pytest.raises(StrayLinkError):
        peek(one, f"http://127.0.0.1:{other}/x")
    assert (len(requests), never) == (2, [])


def test_a_redirect_of_the_storage_leads_nowhere(http, answering):
    storage, _ = answering(says(b"[]"), says(b"", "302 Found", "Location: http://127.0.0.2:1/"))
    one = http(f"http://127.0.0.1:{storage}")
    ask(one)
    assert peek(one, f"{one.address}/x", one.address).status == 302


def test_where_a_stored_object_may_not_be_asked_for_its_row_is_what_is_known(
    standing_servers, remote, answering, make_trap_picture
):
    server = standing_servers[2023]
    server.reset()
    port, requests = answering(says(b"secret"), address="127.0.0.2")
    picture = ImageParser(make_trap_picture())
    client = remote(server.port)
    client.put_images([picture])
    row = {
        "device": picture["device"],
        "datetime": picture["datetime"].strftime("%Y-%m-%dT%H:%M:%SZ"),
        "md5": picture["md5"],
        "url": f"http://127.0.0.2:{port}/x",
    }
    server.set_mode("wrong_json", paths=["/get_images/image"], json=[row])
    claim = Claim(picture["device"], picture["datetime"], picture["md5"], len(picture.file_blob))
    assert client.holdings([claim]) == [Holding.ROW_ONLY]
    assert requests == []
