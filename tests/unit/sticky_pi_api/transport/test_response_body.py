"""What is answered is unpacked once at most, within bounds, and what only announces an answer is passed over."""

import gzip
import resource
import sys
import zlib

import pytest
from program import python
from scripts import ask, says
from sticky_pi_api.exceptions import AnswerTooLargeError, NotAnAPIError, UnreachableError
from sticky_pi_api.transport.credentials import SignedUrl

MANY = 2**26


def coded(content, coding, status="200 OK"):
    return says(content, status, f"Content-Encoding: {coding}", "Connection: close")


def address(port):
    return f"http://127.0.0.1:{port}"


def twice_packed():
    """Return what is 64 MB twice unpacked, and 64 kB once."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return gzip.compress(b"".join([*(packer.compress(bytes(2**20)) for _ in range(64)), packer.flush()]), 9)


@pytest.mark.parametrize(
    "coding", ["gzip, gzip", "gzip,gzip", "GZIP , gzip", "deflate", "br", "gzip, " * 4000 + "gzip"]
)
def test_what_is_packed_twice_or_otherwise_is_no_api(http, answering, coding):
    port, _ = answering(coded(twice_packed(), coding))
    with pytest.raises(NotAnAPIError, match="a compression that the request didn't ask for"):
        ask(http(address(port)))


def test_two_headers_are_as_good_as_one(http, answering):
    port, _ = answering(says(twice_packed(), "200 OK", *["Content-Encoding: gzip"] * 2))
    with pytest.raises(NotAnAPIError, match="compress"):
        ask(http(address(port)))


def test_what_says_that_something_went_wrong_does_so_however_it_is_packed(http, answering):
    port, _ = answering(coded(b"nonsense", "br", "502 Bad Gateway"))
    answer = ask(http(address(port)))
    assert (answer.status, answer.body) == (502, b"")


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "GZIP", "identity", ""])
def test_what_is_packed_once_or_not_at_all_is_read(http, answering, coding):
    content = b"[1, 2]" if coding in ("identity", "") else gzip.compress(b"[1, 2]")
    port, _ = answering(coded(content, coding))
    assert ask(http(address(port))).body == b"[1, 2]"


def test_an_empty_answer_may_say_that_it_is_packed(http, answering):
    port, _ = answering(coded(b"", "gzip"))
    assert ask(http(address(port))).body == b""


@pytest.mark.parametrize("size", [2**20, 2**20 + 1])
def test_an_answer_may_be_as_large_unpacked_as_it_is_to_be_and_no_larger(http, answering, size):
    port, _ = answering(coded(gzip.compress(bytes(size)), "gzip"))
    if size > 2**20:
        with pytest.raises(AnswerTooLargeError):
            ask(http(address(port)), largest=2**20)
    else:
        assert len(ask(http(address(port)), largest=2**20).body) == size


def test_what_unpacks_to_nothing_ends_as_well(http, answering):
    # Empty blocks: a sync flush without anything before it.
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    head = packer.compress(b"") + packer.flush(zlib.Z_SYNC_FLUSH)
    port, _ = answering(coded(head + b"\0\0\0\xff\xff" * 10_000, "gzip"))
    with pytest.raises(AnswerTooLargeError):
        ask(http(address(port)), largest=20_000)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (gzip.compress(b"[1, 2]")[:-4], UnreachableError),
        (gzip.compress(b"[1, 2]") + b"more", NotAnAPIError),
        (gzip.compress(b"[1, 2]") + gzip.compress(b"[1, 2]"), NotAnAPIError),
        (zlib.compress(b"[1, 2]"), NotAnAPIError),
        (b"nonsense", NotAnAPIError),
    ],
)
def test_damaged_packing_is_no_answer(http, answering, content, error):
    port, _ = answering(coded(content, "gzip"))
    with pytest.raises(error):
        ask(http(address(port)))


def test_a_bomb_costs_no_memory(tmp_path):
    """Whichever library is below: 2 GB in 1.8 kB end as an error in a process that may have but a little."""
    script = f"""if True:
        import gzip, resource, sys
        sys.path[:0] = {sys.path!r}
        from scripts import ScriptedServer, ask, says
        from sticky_pi_api.exceptions import NotAnAPIError
        from sticky_pi_api.transport.session import Http

        inner = gzip.compress(bytes(2**20), 9)
        bomb = gzip.compress(inner * 2000, 9)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for headers in (["Content-Encoding: gzip, gzip"], ["Content-Encoding: gzip"]):
            with ScriptedServer(says(bomb, "200 OK", *headers)) as server:
                http = Http(f"http://127.0.0.1:{{server.port}}")
                try:
                    ask(http, largest=2**20)
                except NotAnAPIError:
                    http.close()
                else:
                    sys.exit("it was taken")
        sys.exit(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before > 30_000 and "it was unpacked")
    """
    limit = (2**30, 2**30)
    done = python(script, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, limit))  # one thread runs
    assert (done.returncode, done.stderr) == (0, "")


def test_a_file_behind_a_link_is_taken_as_it_is_and_never_unpacked(http, answering):
    port, _ = answering(says(b"\x1f\x8b as it is"), coded(gzip.compress(b"file"), "gzip"))
    one, link, got = http(address(port)), SignedUrl.of(address(port) + "/file", address(port)), []
    one.get(link, got.extend)
    assert b"".join(got) == b"\x1f\x8b as it is"
    with pytest.raises(NotAnAPIError, match="compress"):
        one.get(link, got.extend)


# Informational answers


INTERIM = b"HTTP/1.1 %d Something\r\nLink: </a>; rel=preload\r\nX: y\r\n\r\n"


@pytest.mark.parametrize("statuses", [[102], [103], [100], [199], [102, 103, 100, 102]])
def test_what_only_announces_an_answer_is_passed_over(http, answering, statuses):
    def script(connection):
        connection.sendall(b"".join(INTERIM % status for status in statuses))
        says(b"[1]")(connection)

    port, requests = answering(script)
    answer = ask(http(address(port)))
    assert (answer.status, answer.body) == (200, b"[1]")
    assert len(requests) == 1


def test_a_protocol_that_nobody_asked_for_is_no_answer_to_wait_behind(http, answering):
    port, _ = answering(says(b"", "101 Switching Protocols", "Connection: close"))
    assert ask(http(address(port))).status == 101


def test_endless_announcements_cost_no_more_than_the_deadline(http, answering):
    def script(connection):
        while True:
            connection.sendall(INTERIM % 102)

    port, _ = answering(script)
    with pytest.raises(UnreachableError, match="longer than the 1 s"):
        ask(http(address(port)))
