"""Requests to servers that can't be relied on: each ends in time, and in words of our own."""

import gzip
import re
import socket
import ssl
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path

import pytest
from fault_proxy import Fault, FaultProxy, Rule
from program import eventually
from scripts import ask, says
from sticky_pi_api.exceptions import (
    BrokenOffError,
    CertificateError,
    ClockNotSetError,
    NotAnAPIError,
    RemoteError,
    UnreachableError,
)
from sticky_pi_api.transport.addresses import resolve
from sticky_pi_api.transport.cancellation import CancelScope, Guard, Timeouts
from sticky_pi_api.transport.errors import LONG_SILENCE
from sticky_pi_api.types import Blame

QUICK = Timeouts(connect=2.0, read=0.4, whole=1.0)
DAY = timedelta(days=1)
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


def always(kind, **details):
    return (Rule((Fault(kind, **details),)),)


def test_an_answer_is_returned_whatever_it_says(http, server):
    answer = ask(http(server.url))
    assert answer.status == 401
    assert answer.headers["www-authenticate"].startswith("Basic")
    assert answer.body == b"Unauthorized Access"


def test_connections_are_kept(http, server):
    one = http(server.url)
    for _ in range(5):
        ask(one)
    assert len({entry.connection for entry in server.requests()}) == 1


def test_a_kept_connection_that_the_server_has_closed_is_opened_again(http, server, proxy):
    proxy.set(rules=always("hang_up"))
    one = http(f"http://127.0.0.1:{proxy.port}")
    for _ in range(4):
        assert ask(one).status == 401
    assert len(server.requests()) == 4


def test_a_question_is_sent_again_once_if_its_kept_connection_turns_out_to_be_dead(http, answering):
    def answer_then_drop_the_next(connection):
        says(b"[1]")(connection)
        connection.recv(65536)

    port, requests = answering(answer_then_drop_the_next, says(b"[2]"))
    one = http(f"http://127.0.0.1:{port}")
    assert [ask(one).body, ask(one).body] == [b"[1]", b"[2]"]
    assert len(requests) == 2


def test_a_question_on_a_new_connection_is_sent_once(http, answering):
    port, requests = answering(lambda _: None, says(b"[]"))
    with pytest.raises(UnreachableError, match="broke the connection off"):
        ask(http(f"http://127.0.0.1:{port}"))
    assert len(requests) == 1


def test_a_connection_that_is_reset_at_once_is_a_broken_one_however_late_that_is_noticed(http):
    over = threading.Event()

    def reset_all(listening):
        while not over.is_set():
            connection, _ = listening.accept()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            connection.close()

    def keep_busy():
        # What holds the interpreter lets the reset come before Python sees that there is a connection.
        while not over.is_set():
            sum(range(10_000))

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threads = [threading.Thread(target=reset_all, args=(listening,)), threading.Thread(target=keep_busy)]
        for thread in threads:
            thread.start()
        one = http(f"http://127.0.0.1:{listening.getsockname()[1]}")
        try:
            for _ in range(100):
                with pytest.raises(UnreachableError, match="broke the connection off"):
                    ask(one)
        finally:
            over.set()
            socket.create_connection(listening.getsockname()).close()
            for thread in threads:
                thread.join()


class Form:
    """A body of 300 blocks that says how much of it was taken."""

    begun = False
    taken = 0

    @property
    def may_repeat(self):
        return not self.begun

    def __len__(self):
        return 300 * 65536

    def __iter__(self):
        self.begun = True
        for _ in range(300):
            yield bytes(65536)
            self.taken += 1


def test_a_body_that_was_begun_is_not_sent_again(http, answering):
    def answer_then_drop_the_next(connection):
        says(b"[1]")(connection)
        connection.recv(65536)

    port, requests = answering(answer_then_drop_the_next, says(b"[2]"))
    one = http(f"http://127.0.0.1:{port}")
    ask(one)
    form = Form()
    with pytest.raises(UnreachableError):
        ask(one, form)
    assert form.begun
    assert len(requests) == 1


@pytest.mark.parametrize("direction", ["up", "down"])
@pytest.mark.parametrize("kind", ["stall", "reset"])
@pytest.mark.parametrize("at", [0, 1, 100, 200])
def test_whatever_byte_a_connection_fails_at_it_ends_as_unreachable(http, proxy, kind, direction, at):
    proxy.set(rules=always(kind, direction=direction, at=at))
    with pytest.raises(UnreachableError) as raised:
        ask(http(f"http://127.0.0.1:{proxy.port}"), b"[" + b" " * 200 + b"]")
    assert raised.value.blame is Blame.DESTINATION


@pytest.mark.parametrize("at", [0, 30, 100])
def test_a_server_that_drips_costs_no_more_than_the_deadline(http, proxy, at):
    proxy.set(rules=always("drip", direction="down", at=at, seconds=0.1))
    with pytest.raises(UnreachableError, match="longer than the 1 s"):
        ask(http(f"http://127.0.0.1:{proxy.port}"))


def test_a_server_that_takes_no_body_costs_no_more_than_the_deadline(http, proxy):
    proxy.set(rules=always("stall", direction="up", at=1000))
    form = Form()
    with pytest.raises(UnreachableError):
        ask(http(f"http://127.0.0.1:{proxy.port}"), form)
    assert 0 < form.taken < 300


def test_a_slow_body_gets_the_time_that_it_needs(http, proxy):
    proxy.set(rate_up=100_000.0)
    body = b"[" + b" " * 150_000 + b"]"
    with pytest.raises(UnreachableError, match="longer than the 1 s"):
        ask(http(f"http://127.0.0.1:{proxy.port}", timeouts=Timeouts(read=3.0, whole=1.0)), body)
    one = http(f"http://127.0.0.1:{proxy.port}", timeouts=Timeouts(read=3.0, whole=1.0))
    assert ask(one, body, seconds=9.0).status == 401


@pytest.mark.parametrize(("protocol", "said"), [("http", "doesn't answer"), ("https", None)])
def test_a_server_that_accepts_and_never_speaks_is_unreachable(http, proxy, protocol, said):
    proxy.set(deaf=True)
    with pytest.raises(UnreachableError, match=said):
        ask(http(f"{protocol}://localhost:{proxy.port}", timeouts=Timeouts(connect=0.3, read=0.3, whole=5.0)))


def test_a_port_that_nobody_listens_on_is_named(http):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
    with pytest.raises(UnreachableError, match=f"{address} can't be reached: it refuses connections"):
        ask(http(address))


@pytest.mark.parametrize("host", ["nothing.invalid", "a" * 70, "a..b", "xn--", "é" * 70])
def test_a_host_that_is_not_known_or_no_name_is_unreachable(http, host):
    with pytest.raises(UnreachableError, match="its name isn't known" if host == "nothing.invalid" else None):
        ask(http(f"http://{host}"))


@pytest.mark.parametrize(
    "noise", [b"SSH-2.0-OpenSSH_9.2\r\n", b"\x15\x03\x01\x00\x02\x02\x16", b"HTTP/1.1 abc\r\n\r\n", b"x" * 70000]
)
def test_what_does_not_speak_http_is_no_api(http, answering, noise):
    port, _ = answering(lambda connection: connection.sendall(noise))
    with pytest.raises(RemoteError) as raised:
        ask(http(f"http://127.0.0.1:{port}"))
    assert raised.value.blame is Blame.DESTINATION


def test_packed_answers_are_unpacked_and_damaged_ones_are_no_api(http, answering):
    packed = gzip.compress(b"[1, 2]")
    port, requests = answering(
        says(packed, "200 OK", "Content-Encoding: gzip", "Connection: close"),
        says(b"nonsense" * 9, "200 OK", "Content-Encoding: gzip", "Connection: close"),
    )
    one = http(f"http://127.0.0.1:{port}")
    assert ask(one).body == b"[1, 2]"
    assert b"Accept-Encoding: gzip\r\n" in requests[0]
    with pytest.raises(NotAnAPIError):
        ask(one)


@pytest.mark.parametrize(
    ("rest", "end"),
    [
        (b"Content-Length: 100\r\n\r\n[]", pytest.raises(UnreachableError, match="broke the connection off")),
        (b"Transfer-Encoding: chunked\r\n\r\n-5\r\n[1, 2]", pytest.raises(NotAnAPIError)),
        (b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n[1, 2]", pytest.raises(UnreachableError)),
        (b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n[1, 2]", nullcontext()),
        (b"Content-Length: \xb2\r\n\r\n[1, 2]", nullcontext()),
    ],
    ids=["cut short", "negative chunk", "endless chunk", "endless", "no number"],
)
def test_an_answer_with_a_false_length_is_no_answer_or_ends_with_its_connection(http, answering, rest, end):
    port, _ = answering(lambda connection: connection.sendall(b"HTTP/1.1 200 OK\r\n" + rest))
    with end:
        assert ask(http(f"http://127.0.0.1:{port}")).body == b"[1, 2]"


def test_a_redirect_is_never_unpacked_without_a_bound(http, answering):
    packed = gzip.compress(bytes(2**24), 9)
    port, requests = answering(says(packed, "302 Found", "Location: /elsewhere", "Content-Encoding: gzip"))
    with pytest.raises(NotAnAPIError, match="answers with more bytes than any answer of a Sticky Pi API has"):
        ask(http(f"http://127.0.0.1:{port}"), largest=2**20)
    assert len(requests) == 1


def test_cookies_are_not_kept(http, answering):
    answer = says(b"[]", "200 OK", "Set-Cookie: session=7; Path=/", "Connection: close")
    port, requests = answering(answer, answer)
    one = http(f"http://127.0.0.1:{port}")
    for _ in range(2):
        ask(one)
    assert [b"cookie" in request.lower() for request in requests] == [False, False]


def test_redirects_are_not_followed(http, answering):
    port, requests = answering(says(b"", "307 Temporary Redirect", "Location: /elsewhere", "Connection: close"))
    assert ask(http(f"http://127.0.0.1:{port}")).status == 307
    assert len(requests) == 1


# TLS


@pytest.fixture
def tls(server, authority):
    """Put a TLS proxy before the server, with a certificate for a name; returns its port."""
    started = []

    def start(name="localhost", **times):
        started.append(FaultProxy(server.port, certificate=authority.certificate(name, **times)))
        started[-1].start()
        return started[-1].port

    yield start
    for proxy in started:
        proxy.stop()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_server_with_the_right_certificate_is_spoken_to(http, tls, authority, host):
    one = http(f"https://{host}:{tls(host)}", ca_file=authority.ca_file)
    assert [ask(one).status for _ in range(3)] == [401] * 3


def test_certificates_of_a_file_are_all_that_is_trusted(http, authority, tls, monkeypatch):
    made, make = [], ssl.create_default_context
    monkeypatch.setattr(ssl, "create_default_context", lambda **options: made.append(make(**options)) or made[-1])
    ask(http(f"https://localhost:{tls()}", ca_file=authority.ca_file))
    assert [len(context.get_ca_certs()) for context in made] == [1]


@pytest.mark.parametrize(
    ("host", "name", "is_known", "said"),
    [
        ("localhost", "localhost", False, "nothing was sent"),
        ("localhost", "other.example", True, "localhost"),
        ("localhost", "10.0.0.1", True, "localhost"),
        ("127.0.0.1", "10.0.0.1", True, "127.0.0.1"),
    ],
)
def test_a_certificate_of_nobody_known_or_for_another_proves_nothing(
    http, tls, authority, server, *, host, name, is_known, said
):
    with pytest.raises(CertificateError, match=re.escape(said)):
        ask(http(f"https://{host}:{tls(name)}", **({"ca_file": authority.ca_file} if is_known else {})))
    assert server.requests() == []


def test_an_expired_certificate_is_the_destinations_fault(http, tls, authority):
    with pytest.raises(CertificateError, match="expired") as raised:
        ask(http(f"https://localhost:{tls(start=-2 * DAY, end=-DAY)}", ca_file=authority.ca_file))
    assert raised.value.blame is Blame.DESTINATION


@pytest.mark.parametrize(
    ("clock", "message"),
    [
        (946_684_860, "the trap's clock is not set: it says 2000-01-01 00:01:00 UTC"),
        (1_700_000_000, "the trap's clock is slow or not set: it says 2023-11-14 22:13:20 UTC"),
    ],
)
def test_a_certificate_that_is_not_valid_yet_means_the_traps_clock(http, tls, authority, server, *, clock, message):
    port = tls(start=DAY, end=2 * DAY)
    with pytest.raises(ClockNotSetError, match=message) as raised:
        ask(http(f"https://localhost:{port}", ca_file=authority.ca_file, wall_clock=lambda: clock))
    assert raised.value.blame is Blame.NOTHING
    assert server.requests() == []


def test_a_server_without_tls_is_unreachable_by_https(http, server):
    with pytest.raises(UnreachableError, match="TLS"):
        ask(http(f"https://127.0.0.1:{server.port}"))


def test_a_file_of_certificates_that_is_none_is_named(http, tmp_path):
    empty = tmp_path / "ca.pem"
    for why in ("No such file", "holds no certificates"):
        with pytest.raises(CertificateError, match=rf"ca\.pem can't be used: .*{why}"):
            http("https://localhost", ca_file=str(empty))
        empty.write_bytes(b"nothing")


# Proxies


def test_the_environments_proxy_is_used_except_where_it_is_not_to_be(http, answering, server, monkeypatch):
    port, requests = answering(says(b"[1]"))
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert ask(http("http://far.invalid")).body == b"[1]"
    assert requests[0].startswith(b"POST http://far.invalid/get_images/metadata HTTP/1.1\r\n")
    assert ask(http(server.url)).status == 401


def test_tls_goes_through_a_proxys_tunnel_whose_refusal_is_named(http, answering, monkeypatch):
    port, requests = answering(says(b"", "407 Proxy Authentication Required"))
    monkeypatch.setenv("https_proxy", f"http://somebody:secret@127.0.0.1:{port}")
    with pytest.raises(UnreachableError, match="the proxy on the way doesn't let it pass") as raised:
        ask(http("https://far.invalid"))
    assert requests[0].startswith(b"CONNECT far.invalid:443 HTTP/1.")
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("value", ["socks5://127.0.0.1:1", "http://", "nonsense://x", "http://[::1"])
def test_a_proxy_that_can_not_be_used_is_said_to_be_the_reason(http, monkeypatch, value):
    monkeypatch.setenv("http_proxy", value)
    with pytest.raises(UnreachableError):
        ask(http("http://far.invalid"))


def test_a_netrc_file_is_no_account(http, answering, monkeypatch, tmp_path):
    port, requests = answering(says(b"[]"))
    (tmp_path / ".netrc").write_text("default login somebody password else\n", encoding="ascii")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    ask(http(f"http://127.0.0.1:{port}"))
    assert b"Authorization: Basic dXNlcjpwYXNz\r\n" in requests[0]
    assert requests[0].count(b"Authorization") == 1


# Breaking off


def test_closing_breaks_off_what_other_threads_wait_for(http, proxy):
    proxy.set(deaf=True)
    one = http(f"http://127.0.0.1:{proxy.port}", timeouts=Timeouts())
    failures = []

    def wait():
        try:
            ask(one)
        except RemoteError as error:
            failures.append(error)

    threads = [threading.Thread(target=wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    one.close()
    for thread in threads:
        thread.join()
    assert [type(error) for error in failures] == [BrokenOffError] * 3


def test_a_request_is_broken_off_while_it_still_connects(http):
    """A connection that isn't made yet ends with a reset, after which urllib3 looks for an answer all the same."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, socket.create_connection(full.getsockname()):
        port = full.getsockname()[1]
        one = http(f"http://127.0.0.1:{port}", timeouts=Timeouts())
        with ThreadPoolExecutor(1) as pool:
            asking = pool.submit(ask, one)
            eventually(lambda: is_connecting(port))
            one.close()
        assert isinstance(asking.exception(), BrokenOffError)


def is_connecting(port):
    """Say whether the system waits for an answer of that port."""
    lines = Path("/proc/net/tcp").read_text("ascii").splitlines()
    return any(line.split()[2:4] == [f"0100007F:{port:04X}", "02"] for line in lines)


def test_who_breaks_off_what_was_silent_for_long_is_told_so(http, proxy):
    proxy.set(rules=always("silence"))
    one = http(f"http://127.0.0.1:{proxy.port}", timeouts=Timeouts())
    with ThreadPoolExecutor(1) as pool:
        began = time.monotonic()
        asking = pool.submit(ask, one)
        eventually(lambda: proxy.counts().get("requests"))
        time.sleep(LONG_SILENCE + 1)
        one.close()
        error = asking.exception()
    assert isinstance(error, UnreachableError)
    waited = int(re.search(r"doesn't answer \(waited (\d+) s\)", str(error))[1])
    assert LONG_SILENCE <= waited <= time.monotonic() - began + 0.5


def test_who_breaks_off_a_body_that_is_made_slowly_is_not_told_that_the_server_is_silent(http, server):
    body = StuckBody()
    one = http(server.url, timeouts=Timeouts())
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask, one, body)
        time.sleep(LONG_SILENCE + 0.5)
        one.close()
        body.let_go.set()
        assert isinstance(asking.exception(), BrokenOffError)


def test_questions_get_less_time_at_first_and_more_for_an_answer_that_comes(http, proxy, answering):
    proxy.set(rules=always("silence"))
    times = Timeouts(read=20.0, whole=20.0, question=1.5)
    with pytest.raises(UnreachableError, match="longer than"):
        ask(http(f"http://127.0.0.1:{proxy.port}", timeouts=times), is_question=True)

    def slowly(connection):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 40000\r\n\r\n")
        for _ in range(40):
            connection.sendall(b" " * 1000)
            time.sleep(0.07)

    port, _ = answering(slowly, slowly)
    address = f"http://127.0.0.1:{port}"
    assert len(ask(http(address, timeouts=times, lowest_rate=8000.0), is_question=True).body) == 40_000
    with pytest.raises(UnreachableError, match="longer than"):
        ask(http(address, timeouts=times), is_question=True)


def test_a_deadline_that_was_put_off_holds_where_no_further_thread_is_to_be_had(monkeypatch):
    def fail(_):
        raise RuntimeError("can't start new thread")

    with Guard(0.3) as guard:
        guard.deadline.extend(0.3)
        monkeypatch.setattr(threading.Thread, "start", fail)
        eventually(lambda: guard.cancellation.is_done)
        assert guard.expired


def test_a_scope_that_was_broken_off_takes_no_more_requests(http, server):
    one = http(server.url)
    scope = CancelScope(one.scope)
    assert ask(one, scope=scope).status == 401
    scope.cancel()
    with pytest.raises(BrokenOffError):
        ask(one, scope=scope)
    assert ask(one).status == 401
    assert len(server.requests()) == 2


def test_a_look_up_that_is_broken_off_is_not_waited_for():
    scope = CancelScope()
    with Guard(10.0, scope) as guard:
        scope.cancel()
        with pytest.raises(OSError, match=r"^$"):
            resolve(guard, "localhost", 80, 10.0)


def test_nothing_of_a_failed_request_is_kept_with_its_error(http, proxy):
    proxy.set(rules=always("reset", direction="down"))
    with pytest.raises(UnreachableError) as raised:
        ask(http(f"http://127.0.0.1:{proxy.port}"))
    assert raised.value.__context__ is None
    assert raised.value.__cause__ is None or isinstance(raised.value.__cause__, OSError)


class StuckBody:
    """Hangs as it is read, where nothing can reach it, until it is let go."""

    begun = False

    def __init__(self):
        self.is_read = threading.Event()
        self.let_go = threading.Event()

    def __len__(self):
        return 2

    def __iter__(self):
        self.is_read.set()
        self.let_go.wait(60)
        yield b"[]"


def test_a_request_that_can_not_be_reached_is_told_once_its_time_is_up(http, server):
    one, body, failures = http(server.url), StuckBody(), []

    def send():
        try:
            ask(one, body)
        except RemoteError as error:
            failures.append(error)

    thread = threading.Thread(target=send)
    begun = time.monotonic()
    thread.start()
    try:
        # Before there is a request, the time since the scope was made counts.
        assert body.is_read.wait(30)
        while one.scope.stalled_for() < 0.3:
            assert time.monotonic() - begun < 30
        assert time.monotonic() - begun >= QUICK.whole + 0.3
    finally:
        body.let_go.set()
        thread.join()
    assert [type(error) for error in failures] == [UnreachableError]


def test_within_its_time_a_request_gets_on_and_without_one_it_is_told_since_when(http, answering):
    asked, answer, idle = threading.Event(), threading.Event(), 0.2

    def slow(connection):
        asked.set()
        answer.wait(60)
        says(b"{}")(connection)

    port, _ = answering(slow)
    one = http(f"http://127.0.0.1:{port}", timeouts=Timeouts(whole=60.0))
    time.sleep(idle)
    assert one.scope.stalled_for() >= idle
    thread = threading.Thread(target=ask, args=(one,))
    thread.start()
    try:
        assert asked.wait(60)
        time.sleep(idle)
        assert one.scope.stalled_for() == 0
    finally:
        answer.set()
        thread.join()
    time.sleep(idle)
    assert one.scope.stalled_for() >= idle
