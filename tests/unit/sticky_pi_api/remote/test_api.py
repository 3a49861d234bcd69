# ruff: noqa: DTZ001 - naive datetimes are UTC throughout
"""RemoteClient against the reference server: what was sent, and never sent, is read from the server's ledger."""

import contextlib
import hashlib
import json
import logging
import os
import threading
import time
from collections import Counter
from contextlib import closing
from datetime import datetime, timedelta

import pytest
from fault_proxy import Fault, FaultProxy, Rule
from fuzzing.wire_server import WireServer
from program import loaded_by, python
from sticky_pi_api.exceptions import (
    AccountError,
    AnswerTooLargeError,
    ConflictError,
    DoubtfulError,
    ImageChangedError,
    NotAnAPIError,
    RefusedError,
    RemoteError,
    RequestTooLargeError,
    StickyPiError,
    TooLargeError,
    UnavailableError,
    UnreachableError,
)
from sticky_pi_api.image_parser import ImageParser
from sticky_pi_api.put_images.remote import FRESH, KEYS_PER_QUESTION, SECOND_QUESTION_AFTER
from sticky_pi_api.transport.cancellation import Timeouts
from sticky_pi_api.types import Blame, Outcome
from sticky_pi_uploader.demo.pictures import make_picture

TAKEN = datetime(2020, 7, 5, 10, 7, 16)
QUICK = Timeouts(connect=2.0, read=0.5, whole=2.0)
PUT = "/_put_new_images"
ASK = "/get_images"


@pytest.fixture
def pictures(make_trap_picture):
    """Make some pictures."""

    def make(count, **more):
        return [str(make_trap_picture(**more)) for _ in range(count)]

    return make


def put(client, files):
    seen = []
    client.put_images(files, on_outcome=seen.append)
    return seen


def outcomes(seen):
    return [one.outcome for one in seen]


def counts(server):
    return Counter(entry.path for entry in server.requests())


def strike(kind, path=PUT, times=1, **details):
    return {"rules": (Rule((Fault(kind, **details),), path=path, times=times),)}


def assert_nothing_harmful_was_sent(server):
    """Nothing that was held, and nothing whole that doesn't decode."""
    for entry in server.requests(PUT):
        assert "transfer-encoding" not in entry.headers
        assert not any(file.held for file in entry.files)
        assert all(file.decodes for file in entry.files if entry.whole)
        assert len(entry.files) <= 1


def assert_stored_once(server, files):
    assert sorted(row.md5 for row in server.rows()) == sorted(map(md5_of, files))
    assert sorted(server.objects().values()) == sorted(map(content, files))


def content(path):
    with open(path, "rb") as file:
        return file.read()


def md5_of(path):
    return hashlib.md5(content(path), usedforsecurity=False).hexdigest()


# What is sent


def test_what_an_upload_took_is_told_without_the_login(remote, server, pictures):
    with FaultProxy(server.port) as proxy:
        proxy.set(**strike("stall", path="/get_token", direction="down", seconds=0.4))
        began = time.monotonic()
        seen = put(remote(proxy.port), pictures(2))
        took = time.monotonic() - began
    assert outcomes(seen) == ["stored"] * 2
    assert all(0 < one.seconds <= took - 0.4 for one in seen)


def test_a_batch_costs_one_login_one_question_and_one_upload_a_picture(remote, server, pictures):
    files = pictures(20)
    assert outcomes(put(remote(server.port), files)) == ["stored"] * 20
    assert counts(server) == {"/get_token": 1, f"{ASK}/metadata": 1, PUT: 20}
    assert_nothing_harmful_was_sent(server)
    assert_stored_once(server, files)
    assert {file.name for file in server.sent_files()} == {os.path.basename(file) for file in files}
    assert [entry.auth for entry in server.requests()] == ["password", *["token"] * 21]
    assert all(int(entry.headers["content-length"]) == entry.received for entry in server.requests(PUT))
    assert len({entry.connection for entry in server.requests()}) <= 5


@pytest.mark.parametrize("generation", [2021, 2023])
def test_what_is_held_is_not_sent_whatever_its_case(remote, standing_servers, pictures, tmp_path, generation):
    server = standing_servers[generation]
    server.reset()
    same, other_case, conflict, new = pictures(4)
    server.hold(os.path.basename(same), content(same))
    server.hold(os.path.basename(other_case).replace("1b74105a", "1B74105A"), content(other_case))
    server.hold(os.path.basename(conflict), content(new))
    parsed = [ImageParser(file) for file in (same, other_case, conflict)]
    client = remote(server.port)
    for items in ([same, other_case, conflict], parsed):
        seen = {one.file: one for one in put(client, items)}
        assert [seen[file].outcome for file in (same, other_case, conflict)] == ["held", "held", "conflict"]
        assert isinstance(seen[conflict].error, ConflictError)
        assert seen[conflict].error.held_md5 == md5_of(new)
    assert server.sent_files() == []


def test_questions_are_of_500_keys_at_most_and_never_empty(remote, server):
    client = remote(server.port)
    keys = [{"device": "1b74105a", "datetime": TAKEN + timedelta(seconds=i)} for i in range(1200)]
    assert client.get_images(keys) == []
    assert client.get_images([]) == client.get_image_series([]) == client.put_images([]) == []
    assert [entry.entries for entry in server.requests(ASK)] == [500, 500, 200]
    assert KEYS_PER_QUESTION == 500


def test_what_does_not_decode_is_never_sent(remote, server, pictures):
    files = pictures(4)
    for file, length in zip(files, (10, 100, 2000, -2), strict=True):
        with open(file, "r+b") as stream:
            stream.truncate(length if length > 0 else os.path.getsize(file) + length)
    good = pictures(2)
    assert sorted(outcomes(put(remote(server.port), [*files, *good]))) == [*["refused"] * 4, *["stored"] * 2]
    assert_stored_once(server, good)


def test_one_key_is_never_sent_twice_at_once(remote, server, pictures, tmp_path):
    (file,) = pictures(1)
    upper = tmp_path / os.path.basename(file).replace("1b74105a", "1B74105A")
    upper.write_bytes(content(file))
    other = make_picture(tmp_path / "other", "1b74105a", TAKEN, seed=5, size=(160, 120))
    seen = put(remote(server.port), [file, file, upper, other])
    assert outcomes(seen) == ["stored", "held", "held", "conflict"]
    assert len(server.sent_files()) == 1


def test_uploads_go_in_parallel_up_to_the_limit(remote, server, proxy, pictures):
    proxy.set(delay=0.05)
    assert outcomes(put(remote(proxy.port, parallel=6), pictures(12))) == ["stored"] * 12
    assert len({entry.connection for entry in server.requests(PUT)}) in range(2, 8)


def test_bytes_of_a_parsed_picture_without_a_path_are_sent_from_memory(remote, server, pictures):
    (file,) = pictures(1)

    class Upload:
        filename = os.path.basename(file)

        def __init__(self, stream):
            self.read, self.seek = stream.read, stream.seek

    with open(file, "rb") as stream:
        parser = ImageParser(Upload(stream))
    assert parser.path is None
    assert outcomes(put(remote(server.port), [parser])) == ["stored"]
    assert_stored_once(server, [file])


def test_new_images_that_are_held_are_an_integrity_error_and_not_sent(remote, server, pictures):
    import sqlite3

    first, second = pictures(2)
    client = remote(server.port)
    assert [row["md5"] for row in client._put_new_images([first])] == [md5_of(first)]
    with pytest.raises(sqlite3.IntegrityError, match=os.path.basename(first)):
        client._put_new_images([second, first])
    server.set_mode("refuse_uploads")
    with pytest.raises(RefusedError):
        client._put_new_images(pictures(1))
    assert_nothing_harmful_was_sent(server)


@pytest.mark.parametrize("change", ["other bytes", "longer", "shorter", "gone"])
def test_bytes_that_changed_since_are_broken_off_before_their_end(remote, server, pictures, change):
    (file,) = pictures(1, size=(1200, 900))
    parsed = ImageParser(file)
    blob = bytearray(content(file))
    if change == "gone":
        os.unlink(file)
    else:
        with open(file, "r+b") as stream:
            if change == "other bytes":
                stream.write(bytes(blob[:5000]) + bytes([blob[5000] ^ 1]))
            stream.truncate(len(blob) + {"other bytes": 0, "longer": 7, "shorter": -7}[change])
    parsed.forget_blob()
    (outcome,) = put(remote(server.port), [parsed])
    assert outcome.outcome is Outcome.UNSENT
    assert isinstance(outcome.error, FileNotFoundError if change == "gone" else ImageChangedError)
    assert not any(entry.whole for entry in server.requests(PUT))
    assert server.rows() == []
    assert server.objects() == {}


# Doubtful ends


def test_a_lost_answer_is_asked_for_and_nothing_is_sent_twice(remote, server, proxy, pictures):
    proxy.set(**strike("lose_answer", times=3))
    files = pictures(6)
    assert outcomes(put(remote(proxy.port), files)) == ["stored"] * 6
    assert_stored_once(server, files)
    assert counts(server) == {"/get_token": 1, f"{ASK}/metadata": 4, PUT: 6}


@pytest.mark.parametrize("kind", ["reset", "stall"])
@pytest.mark.parametrize("direction", ["up", "down"])
@pytest.mark.parametrize("at", [0, 1, 200, 600, 3000, 6000])
def test_whatever_byte_an_upload_breaks_at_it_is_stored_once_in_the_end(
    remote, server, proxy, pictures, clock, *, kind, direction, at
):
    proxy.set(**strike(kind, direction=direction, at=at))
    files = pictures(3)
    client = remote(proxy.port, timeouts=QUICK, clock=clock, parallel=2)
    seen = put(client, files)
    assert len(seen) == 3
    assert set(outcomes(seen)) <= {Outcome.STORED, Outcome.UNSENT, Outcome.DOUBTFUL}
    clock.now += SECOND_QUESTION_AFTER
    put(client, [one.file for one in seen if one.outcome is not Outcome.STORED])
    assert_stored_once(server, files)
    assert_nothing_harmful_was_sent(server)


def test_a_picture_whose_end_is_not_known_is_not_sent_again_before_a_second_look(
    remote, server, proxy, pictures, clock
):
    proxy.set(**strike("silence"))
    (file,) = pictures(1)
    client = remote(proxy.port, timeouts=QUICK, clock=clock)
    (first,) = put(client, [file])
    clock.now += 10
    (second,) = put(client, [file])
    for one, wait in ((first, 30), (second, 20)):
        assert one.outcome is Outcome.DOUBTFUL
        assert isinstance(one.error, DoubtfulError)
        assert one.error.retry_after == wait
        assert f"asked for again in {wait} s" in str(one.error)
    assert isinstance(first.error.end, UnreachableError)
    assert server.requests(PUT) == []
    clock.now += 20
    assert outcomes(put(client, [file])) == ["stored"]
    assert len(server.requests(PUT)) == 1


@pytest.mark.parametrize("status", [502, 503, 504])
def test_an_answer_of_the_front_leaves_it_open_and_what_is_there_is_stored(remote, server, proxy, pictures, status):
    files = pictures(2)
    client = remote(proxy.port, parallel=1)
    proxy.set(**strike("replace", status=status, forward=True))
    assert outcomes(put(client, files[:1])) == ["stored"]
    proxy.set(**strike("replace", status=status))
    assert outcomes(put(client, files[1:])) == ["doubtful"]
    assert len(server.rows()) == 1


def test_a_refusal_of_what_is_there_is_no_failure(remote, server, proxy, pictures):
    proxy.set(**strike("replace", status=500, forward=True))
    assert outcomes(put(remote(proxy.port), pictures(1))) == ["held"]


def test_a_receipt_for_other_bytes_is_no_receipt(remote, server, proxy, pictures):
    (file,) = pictures(1)
    row = {"device": "1b74105a", "datetime": "2020-07-05_10-07-16", "md5": "0" * 32}
    proxy.set(**strike("replace", status=200, body=json.dumps([row]), forward=True))
    (outcome,) = put(remote(proxy.port), [file])
    assert (outcome.outcome, outcome.row["md5"]) == (Outcome.DOUBTFUL, "0" * 32)
    assert "other bytes" in str(outcome.error)


OF_ANOTHER = '[{"device": "5c173ff2", "datetime": "2020-07-05_10-07-16", "md5": "MD5"}]'


@pytest.mark.parametrize("body", ["<html>", "", "{}", "[]", "[{}]", "null", '[{"device": 1}]', "[" * 5_000, OF_ANOTHER])
def test_an_upload_is_not_stored_because_somebody_answers_200(remote, server, proxy, pictures, body):
    (file,) = pictures(1)
    proxy.set(**strike("replace", status=200, body=body.replace("MD5", md5_of(file))))
    (outcome,) = put(remote(proxy.port), [file])
    assert outcome.outcome is Outcome.DOUBTFUL
    assert isinstance(outcome.error.end, NotAnAPIError)
    assert server.rows() == []


@pytest.mark.parametrize(("path", "outcome"), [("/get_token", "unsent"), (ASK, "unsent"), (PUT, "doubtful")])
def test_an_answer_with_more_than_it_can_have_to_say_is_not_read(remote, pictures, path, outcome):
    def answer(body):
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body), False

    (file,) = pictures(1)
    with closing(WireServer()) as wire:
        wire.answers = {"/get_token": answer(b'{"token": "t"}'), ASK: answer(b"[]"), PUT: answer(b"[]")}
        wire.answers[path] = answer(b"[" + b"[]," * 2**19 + b"[]]")
        client = remote(wire.port)
        (one,) = put(client, [file])
        client.close()
    assert one.outcome == outcome
    assert isinstance(getattr(one.error, "end", one.error), AnswerTooLargeError)


def test_after_three_unclear_ends_in_a_row_the_rest_is_not_tried(remote, server, proxy, pictures):
    proxy.set(**strike("silence", times=None))
    seen = put(remote(proxy.port, timeouts=QUICK, parallel=1), pictures(10))
    assert outcomes(seen) == [*["doubtful"] * 3, *["unsent"] * 7]
    assert {type(one.error) for one in seen[3:]} == {UnreachableError}


# Refusals, and who is to blame


def test_refusals_blame_nothing_yet_and_the_others_are_tried(remote, server, pictures):
    server.set_mode("refuse_uploads")
    seen = put(remote(server.port), pictures(5))
    assert outcomes(seen) == ["refused"] * 5
    assert {(type(one.error), one.error.blame) for one in seen} == {(RefusedError, Blame.NOTHING)}
    assert_nothing_harmful_was_sent(server)


def test_what_is_too_large_for_the_servers_front_goes_later_with_all_that_are_as_large(remote, server, pictures):
    files = [pictures(1, size=(160 * more, 120 * more))[0] for more in range(1, 7)]
    assert sorted(files, key=os.path.getsize) == files
    server.set_mode("status", status=413, paths=(PUT,), above=os.path.getsize(files[2]) + 700)
    seen = put(remote(server.port, parallel=1), files[::-1])
    assert outcomes(seen) == ["unsent"] * 3 + ["stored"] * 3
    assert {(type(one.error), one.error.blame) for one in seen[:3]} == {(RequestTooLargeError, Blame.DESTINATION)}
    seen = put(remote(server.port, parallel=1), files)
    assert outcomes(seen) == ["held"] * 3 + ["unsent"] * 3
    assert str(seen[3].error) == str(seen[5].error)
    refused = [entry for entry in server.requests(PUT) if entry.status == 413]
    assert len(refused) == 4


def test_what_is_larger_than_servers_take_is_the_pictures_fault(remote, server, make_trap_picture, tmp_path):
    small = ImageParser(make_trap_picture(tmp_path))
    large = tmp_path / "large" / small.filename
    large.parent.mkdir()
    large.write_bytes(bytes(99_999_900))
    fields = {**small, "md5": md5_of(large)}
    picture = ImageParser.restore(large, fields, small.thumbnail_jpeg, small.thumbnail_mini_jpeg)
    (one,) = put(remote(server.port), [picture])
    assert (one.outcome, type(one.error), one.error.blame) == ("refused", TooLargeError, Blame.PICTURE)


@pytest.mark.parametrize("status", [401, 403, 413, 503])
def test_an_answer_before_a_reset_is_read_where_it_can_be(remote, server, pictures, status):
    server.set_mode("status", status=status, paths=(PUT,), early=True, reset=True)
    # Larger than what the system takes before it is on its way.
    (file,) = pictures(1, size=(4000, 3000))
    (one,) = put(remote(server.port), [file])
    assert f"status {status}" in str(one.error)


@pytest.mark.parametrize(
    ("mode", "details", "error", "blame"),
    [
        ("unauthorised", {}, AccountError, Blame.ACCOUNT),
        ("not_an_api", {}, NotAnAPIError, Blame.DESTINATION),
        ("redirect", {}, NotAnAPIError, Blame.DESTINATION),
        ("wrong_json", {"json": None}, NotAnAPIError, Blame.DESTINATION),
        ("wrong_json", {"json": {"rows": []}}, NotAnAPIError, Blame.DESTINATION),
        ("wrong_json", {"json": [1]}, NotAnAPIError, Blame.DESTINATION),
        ("wrong_json", {"json": [{"device": "1b74105a", "datetime": "today", "md5": ""}]}, NotAnAPIError, None),
        ("maintenance", {}, UnavailableError, Blame.DESTINATION),
        ("down", {}, UnreachableError, Blame.DESTINATION),
    ],
)
@pytest.mark.parametrize("paths", [(), (ASK,)])
def test_a_destination_in_trouble_is_named_at_once_for_all(
    remote, server, pictures, *, mode, details, error, blame, paths
):
    server.set_mode(mode, paths=paths, **details)
    seen = put(remote(server.port), pictures(20))
    assert outcomes(seen) == ["unsent"] * 20
    assert {type(one.error) for one in seen} == {error}
    assert seen[0].error.blame is (blame or Blame.DESTINATION)
    assert f"http://127.0.0.1:{server.port}" in str(seen[0].error)
    assert len(server.requests()) <= 4
    server.set_mode("ok")


def test_the_rest_waits_when_uploads_alone_are_answered_so(remote, server, pictures):
    server.set_mode("maintenance", paths=(PUT,), retry_after="120")
    seen = put(remote(server.port, parallel=1), pictures(5))
    assert outcomes(seen) == ["doubtful", *["unsent"] * 4]
    assert [one.error.retry_after for one in seen] == [30, *[120] * 4]


def test_an_account_that_may_not_write_is_named(remote, server, pictures):
    seen = put(remote(server.port, username="guest", parallel=1), pictures(5))
    assert outcomes(seen) == ["unsent"] * 5
    assert isinstance(seen[0].error, AccountError)
    assert "'guest'" in str(seen[0].error)
    assert len(server.requests(PUT)) == 1


def test_a_wrong_password_is_tried_once(remote, server, pictures):
    (outcome,) = put(remote(server.port, password="wröng"), pictures(1))
    assert isinstance(outcome.error, AccountError)
    assert counts(server) == {"/get_token": 1}


def test_a_destination_that_goes_away_during_a_batch_is_not_tried_for_each_picture(remote, server, proxy, pictures):
    client = remote(proxy.port, timeouts=QUICK, parallel=1)
    seen = []

    def then_pull_the_plug(outcome):
        seen.append(outcome)
        if len(seen) == 3:
            proxy.set(**strike("reset", path="", times=None))

    client.put_images(pictures(30), on_outcome=then_pull_the_plug)
    assert outcomes(seen[:3]) == ["stored"] * 3
    # Whether the fourth one's bytes were all gone when it broke is the kernels' affair.
    assert seen[3].outcome in (Outcome.DOUBTFUL, Outcome.UNSENT)
    assert outcomes(seen[4:]) == ["unsent"] * 26
    assert proxy.counts()["requests"] <= 4


def test_questions_raise_what_is_wrong(remote, server, proxy):
    client = remote(proxy.port, timeouts=Timeouts(again=0.5))
    key = [{"device": "1b74105a", "datetime": TAKEN}]
    assert client.get_images(key) == []
    for status, error in ((500, UnavailableError), (400, UnavailableError), (403, AccountError), (404, NotAnAPIError)):
        proxy.set(**strike("replace", path=ASK, status=status, times=None))
        with pytest.raises(error, match=f"status {status}"):
            client.get_images(key)


@pytest.mark.parametrize(
    "fault",
    [
        *(Fault("reset", direction, at) for direction in ("up", "down") for at in (0, 100)),
        *(Fault("replace", status=status) for status in (100, 200, 204, 301, 400, 418, 429, 500)),
        *(Fault("replace", status=200, body=body) for body in ("\0", "[[]]", "1e999")),
        Fault("replace", status=200, headers=(("Content-Encoding", "gzip"),), body="x"),
        Fault("replace", status=503, headers=(("Retry-After", "soon"),)),
        Fault("silence"),
        Fault("lose_answer"),
    ],
    ids=lambda fault: f"{fault.kind} {fault.direction} {fault.at} {fault.status} {fault.body!r}",
)
@pytest.mark.parametrize("path", ["/get_token", ASK, PUT])
def test_nothing_of_the_libraries_below_gets_out(remote, server, proxy, pictures, *, fault, path):
    proxy.set(rules=(Rule((fault,), path=path),))
    client = remote(proxy.port, timeouts=Timeouts(connect=2.0, read=0.3, whole=1.0, again=1.0))
    (outcome,) = put(client, pictures(1))
    assert outcome.error is None or isinstance(outcome.error, StickyPiError)
    # What else might come is raised here, and fails the test.
    with contextlib.suppress(RemoteError):
        client.get_images([{"device": "1b74105a", "datetime": TAKEN}])


# Tokens and secrets


def test_a_token_that_expired_is_renewed_once(remote, server, pictures):
    client = remote(server.port)
    put(client, pictures(3))
    server.expire_tokens()
    assert outcomes(put(client, pictures(3))) == ["stored"] * 3
    assert counts(server) == {"/get_token": 2, f"{ASK}/metadata": 3, PUT: 6}


def test_a_token_that_expires_during_a_batch_costs_no_picture(remote, server, pictures):
    client = remote(server.port)
    files = pictures(12)
    seen = []

    def expire(outcome):
        seen.append(outcome)
        if len(seen) == 4:
            server.expire_tokens()

    client.put_images(files, on_outcome=expire)
    assert outcomes(seen) == ["stored"] * 12
    assert counts(server)["/get_token"] == 2
    assert_stored_once(server, files)


def test_a_token_is_renewed_by_its_age_long_before_it_expires(remote, server, pictures, clock):
    client = remote(server.port, clock=clock)
    for hours, logins in ((0, 1), (11.9, 1), (0.2, 2)):
        clock.now += hours * 3600
        put(client, pictures(1))
        assert counts(server)["/get_token"] == logins
    assert 401 not in [entry.status for entry in server.requests()]


def test_the_password_goes_into_requests_for_tokens_and_nowhere_else(remote, server, proxy, pictures, caplog):
    caplog.set_level(logging.DEBUG)
    client = remote(proxy.port, password="s3cr3t-word", timeouts=QUICK)
    texts = [repr(client), repr(vars(client))]
    for rules in ({"rules": ()}, strike("reset", path="", times=None), strike("silence", path="", times=None)):
        proxy.set(**rules)
        (outcome,) = put(client, pictures(1))
        error = outcome.error
        while error is not None:
            texts += [str(error), repr(error), repr(vars(error))]
            error = error.__cause__ or error.__context__
    assert "s3cr3t-word" not in "\n".join([*texts, caplog.text])
    assert {entry.auth for entry in server.requests()} == {"password"}


# Time


def test_an_answer_older_than_a_minute_is_asked_for_again(remote, server, pictures, clock):
    client = remote(server.port, clock=clock, parallel=1)

    def take_time(_):
        clock.now += 25

    client.put_images(pictures(7), on_outcome=take_time)
    assert [entry.entries for entry in server.requests(ASK)] == [7, 4, 1]


def test_what_was_held_more_than_a_minute_ago_is_asked_for_again(remote, server, proxy, pictures):
    (file,) = pictures(1)
    row = {"device": "1b74105a", "datetime": os.path.basename(file)[9:28], "md5": md5_of(file)}
    proxy.set(**strike("replace", path=ASK, status=200, body=json.dumps([row])))

    def clock():
        # It takes long until a thread is at the picture.
        return 1000.0 + (2 * FRESH if threading.current_thread().name.startswith("send-") else 0.0)

    assert outcomes(put(remote(proxy.port, clock=clock), [file])) == ["stored"]
    assert_stored_once(server, [file])


def test_an_answer_that_grew_old_while_a_token_was_got_is_asked_for_again(remote, pictures):
    files = pictures(1)
    with closing(WireServer()) as wire:
        wire.answers = {
            "/get_token": (b'HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n{"token": "t"}', False),
            ASK: (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]", False),
            PUT: (b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", False),
        }
        client = remote(wire.port, clock=lambda: 1000.0 + FRESH * 2 * wire.requests.count("/get_token"))
        put(client, files)
        client.close()
    first = wire.requests.index(PUT)
    assert [path for path in wire.requests[first : first + 3] if path != "/get_token"] == [PUT, f"{ASK}/metadata"]


def test_what_another_client_stored_meanwhile_is_not_sent(remote, server, pictures, clock):
    client = remote(server.port, clock=clock, parallel=1)
    files = pictures(3)

    def meanwhile(outcome):
        if outcome.file == files[0]:
            clock.now += 61
            server.hold(os.path.basename(files[1]), content(files[1]))
            server.hold(os.path.basename(files[2]), content(files[0]))

    seen = []
    client.put_images(files, on_outcome=lambda one: (seen.append(one), meanwhile(one)))
    assert outcomes(seen) == ["stored", "held", "conflict"]
    assert len(server.sent_files()) == 1


# The end


def test_what_the_callback_raises_breaks_off_what_is_under_way(remote, server, pictures):
    (small,) = pictures(1)
    large = pictures(3, size=(1200, 900))

    def stop(_):
        raise KeyboardInterrupt

    with FaultProxy(server.port, rate_up=20_000.0) as slow:
        with pytest.raises(KeyboardInterrupt):
            remote(slow.port, parallel=4).put_images([small, *large], on_outcome=stop)
        assert [thread for thread in threading.enumerate() if thread.name.startswith("send-")] == []
    time.sleep(0.3)  # for the server to finish what it has got
    assert set(outcomes(put(remote(server.port), [small, *large]))) <= {Outcome.STORED, Outcome.HELD}
    assert_stored_once(server, [small, *large])
    assert_nothing_harmful_was_sent(server)


def test_closing_from_another_thread_ends_a_batch_at_once(remote, server, proxy, pictures):
    client = remote(proxy.port)
    proxy.set(**strike("silence", times=None))
    closing = threading.Timer(0.3, client.close)
    closing.start()
    seen = put(client, pictures(9))
    closing.join()
    assert len(seen) == 9
    assert set(outcomes(seen)) <= {Outcome.UNSENT, Outcome.DOUBTFUL}


@pytest.mark.parametrize(
    "wrong",
    [
        {"protocol": "ftp"},
        {"host": ""},
        {"host": "http://host"},
        {"host": "user@host"},
        {"host": "a b"},
        {"parallel": 0},
        {"max_rate": 10},
        {"lowest_rate": 0},
    ],
)
def test_what_makes_no_sense_is_a_value_error(remote, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        remote(1, **wrong)


def test_an_address_of_version_6_gets_its_brackets(remote):
    with pytest.raises(UnreachableError, match=r"http://\[::1\]:1 can't be reached"):
        remote(1, host="::1").get_images([{"device": "1b74105a", "datetime": TAKEN}])


# Cost


_MEMORY = """if True:
    import resource, sys
    from sticky_pi_api.client import RemoteClient
    from sticky_pi_api.image_parser import ImageParser

    def peak():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    folder, port, small, large, md5_of_small, md5_of_large = sys.argv[1:]
    fields = {"device": "1b74105a", "datetime": "2020-07-05_10-00-00", "md5": md5_of_small}
    with RemoteClient(folder, "127.0.0.1", "trap", "pollen", "http", int(port)) as client:
        client.put_images([ImageParser.restore(small, fields, b"", b"")])
        before = peak()
        fields |= {"datetime": "2020-07-05_11-00-00", "md5": md5_of_large}
        assert len(client.put_images([ImageParser.restore(large, fields, b"", b"")])) == 1
        print(peak() - before)
"""


def test_a_picture_of_20_mb_costs_less_than_4_mib_of_memory(server, tmp_path, make_trap_picture):
    small, large = (str(make_trap_picture(when=datetime(2020, 7, 5, hour))) for hour in (10, 11))
    blob = content(large)
    # A comment in it: what counts is its length.
    comments = (b"\xff\xfe\xff\xff" + bytes(65533)) * 305
    with open(large, "wb") as stream:
        stream.write(blob[:2] + comments + blob[2:])
    assert os.path.getsize(large) > 19_900_000
    arguments = [tmp_path / "c", server.port, small, large, md5_of(small), md5_of(large)]
    done = python(_MEMORY, *arguments)
    assert done.stderr == ""
    assert int(done.stdout) < 4096


def test_a_client_that_is_imported_loads_no_http():
    loaded = loaded_by("from sticky_pi_api.client import RemoteClient")
    assert loaded & {"requests", "urllib3", "sticky_pi_api.transport.session"} == set()


def test_the_client_of_a_store_loads_nothing_of_a_servers():
    assert "sticky_pi_api.remote" not in loaded_by("from sticky_pi_api.client import LocalClient")
