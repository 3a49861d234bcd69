"""A server that has just started answers a plain 500 to the first request of each of its workers."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest
from api_server import ApiServer
from fault_proxy import Fault, Rule
from sticky_pi_api.exceptions import RefusedError, UnavailableError, UnclearEndError
from sticky_pi_api.image_parser import ImageParser
from sticky_pi_api.put_images.holdings import Claim, Holding
from sticky_pi_api.remote.warm_up import MOST, WarmUp
from sticky_pi_api.transport.cancellation import CancelScope, Timeouts
from sticky_pi_api.transport.status_codes import Answer

TAKEN = datetime(2020, 7, 5, 10, 7, 16)  # noqa: DTZ001  # UTC, as in the file names
KEYS = [{"device": "1b74105a", "datetime": TAKEN + timedelta(minutes=20 * i)} for i in range(300)]
ASK = "/get_images"
PUT = "/_put_new_images"


@pytest.fixture
def start(tmp_path):
    """Start servers whose workers all fail at their first request; they are stopped at the end."""
    started = []

    def start(workers, **options):
        options = {"workers": workers, "cold_workers": 1, "worker_choice": "in turn", **options}
        started.append(ApiServer(tmp_path / f"server{len(started)}", **options))
        started[-1].start()
        return started[-1]

    yield start
    for server in started:
        server.stop()


def asked(server):
    return [(entry.path, entry.entries, entry.status) for entry in server.requests()]


def test_a_login_is_repeated_then_what_is_small_and_then_the_question_is_asked(start, remote):
    server = start(4, generation=2021)
    assert remote(server.port).get_images(KEYS) == []
    token, small, large = ("/get_token", None), (f"{ASK}/metadata", 1), (f"{ASK}/metadata", len(KEYS))
    assert asked(server) == [*[(*token, 500)] * 4, (*token, 200), (*small, 200), (*large, 200)]


def test_it_does_not_matter_which_workers_have_the_requests(start, remote):
    server = start(8, worker_choice="any")
    assert remote(server.port).get_images(KEYS) == []
    assert 500 in [entry.status for entry in server.requests("/get_token")]


def test_a_question_that_fails_is_asked_again_after_what_is_small(start, remote):
    server = start(4)
    client = remote(server.port)
    assert client.get_images(KEYS) == []
    before = len(server.requests())
    server.restart_database()
    assert client.get_images(KEYS) == []
    small, large = (f"{ASK}/metadata", 1), (f"{ASK}/metadata", len(KEYS))
    assert asked(server)[before:] == [(*large, 500), *[(*small, 500)] * 3, (*small, 200), (*large, 200)]


def test_a_question_for_one_picture_is_simply_repeated(start, remote):
    server = start(3)
    client = remote(server.port)
    assert client.get_images(KEYS[:1]) == []
    before = len(server.requests())
    server.restart_database()
    assert client.get_images(KEYS[:1]) == []
    assert asked(server)[before:] == [*[(f"{ASK}/metadata", 1, 500)] * 3, (f"{ASK}/metadata", 1, 200)]


def test_series_users_and_what_is_held_are_asked_for_again_as_well(start, remote, make_trap_picture):
    server = start(3)
    client = remote(server.port)
    picture = ImageParser(make_trap_picture())
    assert [row["md5"] for row in client.put_images([picture])] == [picture["md5"]]
    (series,) = [{"device": "%", "start_datetime": TAKEN - timedelta(1), "end_datetime": TAKEN + timedelta(9)}]
    claim = Claim(picture["device"], picture["datetime"], picture["md5"], len(picture.file_blob))
    for ask, answer in (
        (lambda: len(client.get_image_series([series])), 1),
        (client.get_users, []),
        (lambda: client.holdings([claim]), [Holding.CONFIRMED]),
    ):
        server.restart_database()
        assert ask() == answer


def test_an_upload_is_not_repeated(start, remote, make_trap_picture):
    server = start(1)
    client = remote(server.port)
    assert client.get_images(KEYS[:1]) == []
    server.restart_database()
    with pytest.raises(UnclearEndError) as raised:
        client._upload(ImageParser(make_trap_picture()), lambda: True, lambda: None, CancelScope())
    assert isinstance(raised.value.end, RefusedError)
    assert [entry.status for entry in server.requests(PUT)] == [500]


@pytest.mark.parametrize("path", ["/get_token", ASK])
def test_a_server_that_goes_on_failing_is_said_to_fail(server, proxy, remote, path):
    proxy.set(rules=(Rule((Fault("replace", status=500),), path=path),))
    with pytest.raises(UnavailableError, match="status 500"):
        remote(proxy.port, timeouts=Timeouts(again=0.5)).get_images(KEYS)
    assert 1 < proxy.counts()["fault_replace"] <= 1 + MOST


def test_closing_the_client_ends_the_repetitions_and_the_failure_is_said(server, proxy, remote):
    proxy.set(rules=(Rule((Fault("replace", status=500),)),))
    client = remote(proxy.port)
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(client.get_images, KEYS)
        while proxy.counts().get("requests", 0) < 2:
            time.sleep(0.01)
        client.close()
        assert isinstance(asking.exception(), UnavailableError)


def insist(pauses, *statuses, seconds=30.0):
    """Answer requests like this; return the last answer's status, and how many were sent. `pauses` are noted."""
    waiting = list(statuses)
    answer = WarmUp(seconds, pauses.append).insist(lambda: Answer(waiting.pop(0), {}, b""))
    return answer.status, len(statuses) - len(waiting)


@pytest.mark.parametrize("status", [200, 400, 401, 404, 429, 502, 503, 504])
def test_every_other_answer_is_taken_as_it_is(status):
    pauses = []
    assert insist(pauses, status, 200) == (status, 1)
    assert insist(pauses, 500, 500, status, 200) == (status, 3)
    assert len(pauses) == 2


def test_a_failure_that_asks_for_a_pause_is_no_cold_worker():
    waiting = [Answer(500, {"Retry-After": "600"}, b""), Answer(200, {}, b"")]
    assert WarmUp(30.0, [].append).insist(lambda: waiting.pop(0)).status == 500
    assert len(waiting) == 1


def test_a_request_is_repeated_ten_times_with_pauses_that_grow_and_differ():
    drawn = [[] for _ in range(200)]
    assert {insist(pauses, *[500] * 20) for pauses in drawn} == {(500, 11)}
    assert {len(pauses) for pauses in drawn} == {10}
    assert len({pauses[0] for pauses in drawn}) > 100
    assert max(pauses[0] for pauses in drawn) <= 0.2
    assert 1.2 < max(map(max, drawn)) <= 1.5
    assert max(map(sum, drawn)) < 30


def test_nothing_is_repeated_when_the_time_is_over():
    assert insist([], 500, 200, seconds=0.0) == (500, 1)
