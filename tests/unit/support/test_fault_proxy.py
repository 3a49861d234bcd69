import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import requests
from fault_proxy import Fault, FaultProxy, Rule

WHEN = "2020-07-05_10-00-00"
ASK = f"""[{{"device": "1b74105a", "datetime": "{WHEN}"}}]"""
PUT = "/_put_new_images"
DAY = timedelta(days=1)


@pytest.fixture
def through(standing, standing_proxy, visit):
    """Log in through the standing proxy, then let rules apply: returns it, the server and the visitor."""

    def start(*rules, **settings):
        server = standing()
        standing_proxy.reset(**settings)
        visitor = visit(standing_proxy.url)
        visitor.log_in()
        standing_proxy.set(rules=rules)
        return standing_proxy, server, visitor

    return start


def always(kind, **details):
    return Rule((Fault(kind, **details),))


def connect(proxy):
    return socket.create_connection(("127.0.0.1", proxy.port), 5)


REQUEST = b"POST /get_token HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n0123456789"


def exchange(proxy, request=REQUEST):
    """Send a request over a connection of its own, and return what comes back until it is closed."""
    with connect(proxy) as connection:
        connection.sendall(request)
        received = b""
        while piece := connection.recv(0x10000):
            received += piece
        return received


# Nothing wrong


def test_without_rules_requests_pass_unchanged_over_kept_connections(through, picture):
    proxy, server, visitor = through()
    name, blob = picture()
    assert visitor.put(name, blob).status_code == 200
    assert len(visitor.ask(("1b74105a", WHEN)).json()) == 1
    assert server.objects() == {f"1b74105a/{name}": blob}
    assert len({entry.connection for entry in server.requests()}) == 1
    counts = proxy.counts()
    assert counts["requests"] == 2
    assert len(blob) < counts["bytes_up"] < len(blob) + 3000


def test_chunked_bodies_pass(through):
    assert through()[2].post(PUT, data=iter([b"x"])).status_code == 500


def test_an_answer_before_the_end_of_the_body_reaches_the_sender(serve, visit, picture):
    server = serve(largest_body=10_000)
    with FaultProxy(server.port) as proxy:
        visitor = visit(proxy.url)
        visitor.log_in()
        assert visitor.put(picture()[0], bytes(1_000_000)).status_code == 413
        assert visitor.ask(("1b74105a", WHEN)).status_code == 200


def test_when_the_server_closes_an_idle_connection_so_does_the_proxy(serve):
    with FaultProxy(serve(idle=0.2).port) as proxy:
        assert exchange(proxy).startswith(b"HTTP/1.1 401")


def test_a_server_that_is_not_there_closes_the_connection_without_an_answer(through):
    proxy, server, _ = through()
    server.set_mode("down")
    assert exchange(proxy) == b""


# The link


def test_every_exchange_costs_a_round_trip_and_a_connection_another(through):
    _, _, visitor = through(delay=0.1)
    began = time.monotonic()
    for _ in range(3):
        visitor.ask(("1b74105a", WHEN))
    assert time.monotonic() - began >= 0.3
    visitor.session.close()
    began = time.monotonic()
    visitor.ask(("1b74105a", WHEN))
    assert time.monotonic() - began >= 0.2


@pytest.mark.parametrize("rate", ["rate_up", "rate_down"])
def test_all_connections_share_the_rate_of_the_link(through, picture, rate):
    proxy, server, visitor = through()
    for minute in range(10):
        server.hold(*picture(minute))
    proxy.set(**{rate: 20_000})
    began = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        entries = [("1b74105a", f"2020-07-05_10-{n:02}-00") for n in range(10)] * 4
        statuses = list(pool.map(lambda _: visitor.ask(*entries).status_code, range(4)))
    took = time.monotonic() - began
    moved = proxy.counts()["bytes_" + rate.removeprefix("rate_")]
    assert statuses == [200] * 4
    assert moved > 2000
    assert took >= moved / 20_000 - 0.05


def test_an_idle_connection_is_closed_without_a_word(through):
    proxy, _, _ = through(idle=0.1)
    assert b"Connection: close" not in exchange(proxy)


def test_a_deaf_proxy_accepts_and_never_says_anything(standing):
    server = standing()
    with FaultProxy(server.port) as proxy:
        proxy.set(deaf=True)
        with connect(proxy) as connection:
            connection.settimeout(0.2)
            connection.sendall(REQUEST)
            with pytest.raises(TimeoutError):
                connection.recv(1)
    assert server.requests() == []


# Faults


@pytest.mark.parametrize("at", [0, 5, len(REQUEST) - 1])
def test_a_request_is_reset_at_a_byte(through, at):
    proxy, server, _ = through(always("reset", at=at))
    with pytest.raises(ConnectionResetError):
        exchange(proxy)
    assert proxy.counts()["bytes_up"] == at
    assert not any(entry.whole for entry in server.requests()[1:])


@pytest.mark.parametrize("at", [0, 1, 50])
def test_an_answer_is_reset_at_a_byte(through, at):
    proxy, server, _ = through(always("reset", direction="down", at=at))
    with pytest.raises(ConnectionResetError):
        exchange(proxy)
    assert proxy.counts()["bytes_down"] == at
    assert [entry.status for entry in server.requests()][1:] == [401]


def test_a_fault_beyond_the_end_never_strikes(through):
    _, _, visitor = through(always("reset", at=100_000))
    assert visitor.ask(("1b74105a", WHEN)).status_code == 200


def test_a_reset_upload_leaves_nothing_stored_and_is_seen_by_the_server(through, picture):
    _, server, visitor = through(always("reset", at=3000))
    name, blob = picture()
    with pytest.raises(requests.ConnectionError):
        visitor.put(name, blob)
    deadline = time.monotonic() + 5
    while not server.sent_files() and time.monotonic() < deadline:
        time.sleep(0.01)
    (file,) = server.sent_files()
    assert (file.name, file.decodes) == (name, False)
    assert file.size < 3000
    assert server.objects() == {}


@pytest.mark.parametrize("direction", ["up", "down"])
def test_a_stall_for_a_time_goes_on_after_it(through, direction):
    _, _, visitor = through(always("stall", direction=direction, at=20, seconds=0.3))
    began = time.monotonic()
    assert visitor.ask(("1b74105a", WHEN)).status_code == 200
    assert time.monotonic() - began >= 0.3


@pytest.mark.parametrize("direction", ["up", "down"])
def test_a_stall_without_an_end_has_none(through, direction):
    _, _, visitor = through(always("stall", direction=direction, at=20))
    with pytest.raises(requests.Timeout):
        visitor.post("/get_token", timeout=0.3)


def test_a_drip_lets_one_byte_pass_at_a_time(standing):
    drip = always("drip", direction="down", seconds=0.05)
    with FaultProxy(standing().port, rules=(drip,)) as proxy, connect(proxy) as connection:
        connection.sendall(REQUEST)
        arrivals = [connection.recv(100) for _ in range(4)]
    assert arrivals == [b"H", b"T", b"T", b"P"]


def test_the_answer_to_an_upload_that_went_through_whole_is_lost(through, picture):
    proxy, server, visitor = through(Rule((Fault("lose_answer"),), path=PUT, times=1))
    with pytest.raises(requests.ConnectionError):
        visitor.put(*picture())
    assert "bytes_down" not in proxy.counts()
    assert [entry.status for entry in server.requests(PUT)] == [200]
    assert len(visitor.ask(("1b74105a", WHEN)).json()) == 1


def test_silence_swallows_the_request_and_never_answers(through):
    _, server, visitor = through(always("silence"))
    with pytest.raises(requests.Timeout):
        visitor.post("/get_token", timeout=0.3)
    assert len(server.requests()) == 1


@pytest.mark.parametrize("forward", [True, False])
def test_an_answer_is_replaced_with_or_without_the_servers_doing(through, picture, forward):
    headers = (("Retry-After", "7"), ("Content-Type", "text/html"))
    fault = Fault("replace", status=503, headers=headers, body="<p>later</p>", forward=forward)
    _, server, visitor = through(Rule((fault,), times=1))
    answer = visitor.put(*picture())
    assert (answer.status_code, answer.headers["Retry-After"], answer.text) == (503, "7", "<p>later</p>")
    assert len(server.objects()) == (1 if forward else 0)
    assert visitor.ask(("1b74105a", WHEN)).status_code == 200


def test_a_connection_is_hung_up_after_an_answer_that_does_not_say_so(through):
    proxy, _, _ = through(always("hang_up"))
    answer = exchange(proxy)
    assert answer.startswith(b"HTTP/1.1 401")
    assert b"Connection: close" not in answer


# Rules


def statuses(visitor, number):
    return [visitor.post("/get_images/metadata", data=ASK).status_code for _ in range(number)]


def test_a_rule_is_for_every_nth_request_after_some_and_ends(through):
    broken = (Fault("replace", status=500),)
    _, _, visitor = through(Rule(broken, every=3, skip=1, times=2, path="/get_images"))
    visitor.log_in()
    assert statuses(visitor, 11) == [200, 200, 200, 500, 200, 200, 500, 200, 200, 200, 200]


def test_a_rule_can_count_connections(through):
    proxy, _, visitor = through(Rule((Fault("replace", status=500),), every=2, per="connection"))
    assert statuses(visitor, 2) == [200, 200]
    visitor.session.close()
    assert statuses(visitor, 2) == [500, 200]
    visitor.session.close()
    assert statuses(visitor, 1) == [200]
    assert proxy.counts()["fault_replace"] == 1


def test_of_several_faults_the_seed_draws_the_same_again(through):
    kinds = tuple(Fault("replace", status=status) for status in (500, 502, 503, 504))
    proxy, _, visitor = through(seed=1)
    drawn = []
    for seed in (1, 1, 2):
        proxy.set(rules=(Rule(kinds),), seed=seed)
        drawn.append(statuses(visitor, 12))
    assert drawn[0] == drawn[1] != drawn[2]
    assert set(drawn[0]) == {500, 502, 503, 504}


def test_the_first_rule_that_strikes_has_the_request(through):
    every_second, first = (
        Rule((Fault("replace", status=status),), every=every) for status, every in ((502, 2), (500, 1))
    )
    assert statuses(through(every_second, first)[2], 4) == [500, 502, 500, 502]


@pytest.mark.parametrize("wrong", [{"kind": "resett"}, {"kind": "reset", "direction": "sideways"}])
def test_a_fault_that_there_is_not_is_an_error(wrong):
    with pytest.raises(ValueError, match="there is no"):
        Fault(**wrong)


def test_the_proxy_is_gone_when_it_is_stopped_and_comes_back_on_its_port(standing):
    proxy = FaultProxy(standing().port)
    with proxy:
        url = proxy.url
    with pytest.raises(ConnectionRefusedError):
        connect(proxy)
    with proxy:
        assert proxy.url == url
        assert exchange(proxy, REQUEST.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")).startswith(
            b"HTTP/1.1 401"
        )


def test_many_connections_at_once_are_served(through, picture):
    _, server, visitor = through(delay=0.02)
    barrier = threading.Barrier(8)

    def put(minute):
        barrier.wait(5)
        return visitor.put(*picture(minute)).status_code

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(put, range(8))) == [200] * 8
    assert len(server.rows()) == 8


# TLS


@pytest.fixture
def look(standing, authority, visit):
    """Ask through a proxy with a certificate: returns the answer's status."""

    def ask(certificate, ca_file, **settings):
        with FaultProxy(standing().port, certificate=certificate, **settings) as proxy:
            return visit(proxy.url).post("/get_token", verify=ca_file).status_code

    return ask


def test_a_good_certificate_is_believed_by_those_who_know_the_authority(look, authority):
    certificate = authority.certificate()
    assert look(certificate, authority.ca_file) == 401
    with pytest.raises(requests.exceptions.SSLError, match="unable to get local issuer"):
        look(certificate, ca_file=True)


@pytest.mark.parametrize(
    ("details", "said"),
    [
        ({"start": -2 * DAY, "end": -DAY}, "certificate has expired"),
        ({"start": DAY, "end": 2 * DAY}, "certificate is not yet valid"),
        ({"name": "elsewhere.example"}, "doesn't match|not valid for"),
    ],
)
def test_a_bad_certificate_is_named_as_what_it_is(look, authority, details, said):
    with pytest.raises(requests.exceptions.SSLError, match=said):
        look(authority.certificate(**details), authority.ca_file)


def test_faults_strike_inside_tls_as_well(look, authority):
    with pytest.raises(requests.ConnectionError, match="Connection aborted"):
        look(authority.certificate(), authority.ca_file, rules=(always("reset", direction="down", at=10),))
