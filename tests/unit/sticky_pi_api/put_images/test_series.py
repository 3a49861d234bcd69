# ruff: noqa: DTZ001, DTZ901 - naive datetimes are UTC throughout
"""Series of images, short and long: whole, row by row, and over many answers of a server."""

import json
import tracemalloc
from contextlib import closing
from datetime import datetime, timedelta

import pytest
from api_server.store import Store
from sticky_pi_api.client import LocalClient
from sticky_pi_api.exceptions import AnswerTooLargeError
from sticky_pi_api.local.images import ImagesDatabase
from sticky_pi_api.remote.pagination import ROWS_PER_PAGE
from sticky_pi_api.utils import datetime_to_string

TAKEN = datetime(2020, 7, 5, 10, 7, 16)
EVER = {"start_datetime": datetime.min, "end_datetime": datetime.max}
MD5 = "0" * 32


def key(row):
    return row["device"], row["datetime"]


def test_a_series_is_the_same_row_by_row(client, make_trap_picture):
    for number in range(8):
        make = {"device": f"{number % 3:08x}", "when": TAKEN + timedelta(days=40 * number)}
        client.put_images([make_trap_picture(**make)])
    for device in ("%", "00000001", "0000000_", "%2"):
        for what in ("metadata", "image"):
            info = [{"device": device, **EVER}]
            whole = client.get_image_series(info, what)
            assert len(whole) == {"%": 8, "0000000_": 8}.get(device, 3 if device == "00000001" else 2)
            assert sorted(client.iter_image_series(info, what), key=key) == whole == sorted(whole, key=key)


def test_the_entries_of_a_request_come_one_after_the_other(client, make_trap_picture):
    client.put_images([make_trap_picture(device=device) for device in ("0000000a", "0000000b")])
    info = [{"device": device, **EVER} for device in ("0000000b", "%", "0000000c", "0000000a")]
    devices = [row["device"][-1] for row in client.get_image_series(info)]
    assert devices == ["b", "a", "b", "a"]
    assert sorted(row["device"][-1] for row in client.iter_image_series(info)) == sorted(devices)


def test_a_series_begins_with_its_start_and_ends_before_its_end(client, make_trap_picture):
    client.put_images([make_trap_picture(when=TAKEN + timedelta(seconds=second)) for second in range(4)])
    second = timedelta(seconds=1)
    half = timedelta(milliseconds=500)
    for start, end in ((TAKEN + second, TAKEN + 3 * second), (TAKEN + half, TAKEN + 2 * second + half)):
        info = [{"device": "%", "start_datetime": start, "end_datetime": end}]
        expected = [TAKEN + second, TAKEN + 2 * second]
        assert [row["datetime"] for row in client.get_image_series(info)] == expected
        assert [row["datetime"] for row in client.iter_image_series(info)] == expected
    for end in (TAKEN, TAKEN - second):
        info = [{"device": "%", "start_datetime": TAKEN, "end_datetime": end}]
        assert client.get_image_series(info) == list(client.iter_image_series(info)) == []


def test_what_is_wrong_with_a_request_is_said_before_the_first_row(client):
    with pytest.raises(ValueError, match="what is 'picture'"):
        client.iter_image_series([{"device": "%", **EVER}], "picture")
    with pytest.raises(ValueError, match="'end_datetime' is missing"):
        client.iter_image_series([{"device": "%", "start_datetime": TAKEN}])


def many(count, devices=5):
    """Yield the keys of that many images, 20 minutes apart on each device."""
    for number in range(count):
        yield f"{number % devices:08x}", TAKEN + timedelta(minutes=20) * (number // devices)


@pytest.fixture
def large_store(tmp_path):
    """Open a store of many images."""
    with LocalClient(tmp_path / "large") as client:
        database = client._database
        with database.writing():
            for device, when in many(20_003):
                database.insert({"device": device, "datetime": when, "md5": MD5, "width": 64, "height": 48})
        yield client


def test_a_long_series_is_whole_and_sorted(large_store):
    rows = large_store.get_image_series([{"device": "%", **EVER}])
    assert [key(row) for row in rows] == sorted(many(20_003))


def test_many_images_are_found_in_the_order_asked_for_each_once(large_store):
    keys = list(many(20_003))
    asked = [*reversed(keys), ("ffffffff", TAKEN), *keys]
    rows = large_store.get_images([{"device": device.upper(), "datetime": when} for device, when in asked])
    assert [key(row) for row in rows] == list(reversed(keys))


def test_rows_one_by_one_take_little_memory(large_store):
    def peak(work):
        tracemalloc.start()
        try:
            work()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    info = [{"device": "%", **EVER}]
    one_by_one = peak(lambda: sum(1 for _ in large_store.iter_image_series(info)))
    assert one_by_one < peak(lambda: large_store.get_image_series(info)) / 8


def test_rows_that_come_meanwhile_do_no_harm(large_store):
    info = [{"device": "%", **EVER}]
    rows = large_store.iter_image_series(info)
    seen = [next(rows) for _ in range(100)]
    with large_store._database.writing():
        for number in range(1000):
            when = TAKEN + timedelta(seconds=1 + number)
            large_store._database.insert(
                {"device": "00000000", "datetime": when, "md5": MD5, "width": 64, "height": 48}
            )
    keys = [key(row) for row in [*seen, *rows]]
    assert len(set(keys)) == len(keys)
    assert set(many(20_003)) <= set(keys)


def test_questions_use_the_index_of_the_keys_and_go_through_no_other_images(tmp_path):
    with closing(ImagesDatabase(str(tmp_path))) as database:
        database.insert({"device": "00000000", "datetime": TAKEN, "md5": MD5, "width": 64, "height": 48})
        questions = []
        connection = database._connection
        connection.set_trace_callback(questions.append)
        for count in (1, 2, 600):
            database.find(many(count))
        list(database.find_series("0000%", TAKEN, datetime.max))
        connection.set_trace_callback(None)
        plans = {row["detail"] for one in questions for row in connection.execute(f"EXPLAIN QUERY PLAN {one}")}
    conditions = {plan.partition("(")[2] for plan in plans if " images " in f"{plan} "}
    # The last is for the first device.
    assert conditions == {"device=? AND datetime=?)", "device=? AND datetime>? AND datetime<?)", "device>?)", ""}
    assert not any(plan.startswith("SCAN images") for plan in plans)


@pytest.fixture
def hold_many(standing_servers):
    """Let the server of 2023 hold many images, with something long in each row."""
    server = standing_servers[2023]
    server.reset()

    def hold(keys, long=0):
        fields = json.dumps({"datetime_created": "2020-07-05_10-07-16", "api_version": "x" * long})
        with closing(Store(server.data)) as store:
            store._database.execute("BEGIN")
            store._database.executemany(
                "INSERT INTO images (device, datetime, md5, fields) VALUES (?, ?, ?, ?)",
                [(device, datetime_to_string(when), MD5, fields) for device, when in keys],
            )
            store._database.execute("COMMIT")
        return server

    return hold


def test_a_long_series_is_asked_of_a_server_a_stretch_of_time_at_a_time(hold_many, remote):
    server = hold_many(many(20_003))
    client = remote(server.port)
    whole = client.get_image_series([{"device": "%", **EVER}])
    assert [key(row) for row in whole] == sorted(many(20_003))
    before = len(server.requests("/get_image_series"))
    rows = list(client.iter_image_series([{"device": "%", **EVER}]))
    assert sorted(rows, key=key) == whole
    asked = len(server.requests("/get_image_series")) - before
    assert 20_003 / ROWS_PER_PAGE < asked < 200


def test_a_series_too_large_for_one_answer_is_asked_for_in_several(hold_many, remote):
    keys = sorted(many(3600))
    server = hold_many(keys, long=20_000)
    client = remote(server.port)
    rows = client.get_image_series([{"device": "%", **EVER}])
    assert [key(row) for row in rows] == keys
    assert len(server.requests("/get_image_series")) > 2


def test_what_is_too_large_for_an_answer_in_a_single_second_is_said(hold_many, remote):
    server = hold_many([(f"{number:08x}", TAKEN) for number in range(3600)], long=20_000)
    info = [{"device": "%", "start_datetime": TAKEN, "end_datetime": TAKEN + timedelta(seconds=3)}]
    client = remote(server.port)
    with pytest.raises(AnswerTooLargeError, match=f"127.0.0.1:{server.port} answers with more"):
        client.get_image_series(info)
