"""Requests are checked before a server or a store gets them: each fault is a ValueError that names its place."""

import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sticky_pi_api.types import make_key
from sticky_pi_api.validation.annotations import (
    checked_annotation_what,
    checked_annotations,
    in_requests,
    join_annotations,
)
from sticky_pi_api.validation.queries import LONGEST_PATTERN, image_keys, series_of
from sticky_pi_api.validation.users import checked_patterns, checked_users, matching

WHEN = datetime(2020, 7, 5, 10, 7, 16)  # noqa: DTZ001 - naive datetimes are UTC throughout
IMAGE = {"device": "1b74105a", "datetime": "2020-07-05_10-07-16"}
SERIES = {"device": "%", "start_datetime": WHEN, "end_datetime": WHEN}
METADATA = {**IMAGE, "md5": "AB" * 16, "algo_name": "detector", "algo_version": "1"}
ENTRY = {"annotations": [{"value": 1}], "metadata": METADATA}
USER = {"username": "ann", "password": "correct horse"}


def annotated(**changed):
    return {**ENTRY, "metadata": {**METADATA, **changed}}


FAULTS = {
    "no device": (image_keys, {"datetime": WHEN}, "'device' is missing"),
    "no dict": (image_keys, "1b74105a", "'device' is missing"),
    "a device that is a number": (image_keys, {**IMAGE, "device": 5}, "'device' isn't text"),
    "a device with a zero byte": (image_keys, {**IMAGE, "device": "a\0b"}, "'device' isn't text"),
    "a device without a UTF-8 form": (image_keys, {**IMAGE, "device": "\udcff"}, "'device' isn't text"),
    "no datetime": (image_keys, {"device": "1b74105a"}, "'datetime' is missing"),
    "a datetime in words": (image_keys, {**IMAGE, "datetime": "yesterday"}, "'datetime' of"),
    "a day that doesn't exist": (image_keys, {**IMAGE, "datetime": "2021-02-29_00-00-00"}, "'datetime' of"),
    "a datetime before the year 1": (
        image_keys,
        {**IMAGE, "datetime": datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=2)))},
        "'datetime' of",
    ),
    "no end": (series_of, {"device": "%", "start_datetime": WHEN}, "'end_datetime' is missing"),
    "a long pattern": (series_of, {**SERIES, "device": "%" * (LONGEST_PATTERN + 1)}, "longer than 1000 characters"),
    "no annotations": (checked_annotations, {"metadata": METADATA}, "info[0]: 'annotations' is missing"),
    "no metadata": (checked_annotations, {"annotations": []}, "info[0]: 'metadata' is missing"),
    "an entry that is text": (checked_annotations, "text", "info[0] isn't a dict"),
    "annotations that are no list": (checked_annotations, {**ENTRY, "annotations": {}}, "isn't a list of dicts"),
    "an annotation that is text": (checked_annotations, {**ENTRY, "annotations": ["x"]}, "isn't a list of dicts"),
    "metadata that are a list": (checked_annotations, {**ENTRY, "metadata": []}, "'metadata' isn't a dict"),
    "no md5": (checked_annotations, annotated(md5=None), "info[0], metadata: 'md5' isn't text"),
    "a value without a JSON form": (checked_annotations, {**ENTRY, "more": object()}, "info[0] has no JSON form"),
    "a value that is no number": (checked_annotations, {**ENTRY, "more": float("nan")}, "info[0] has no JSON form"),
    "no password": (checked_users, {"username": "ann"}, "info[0]: 'password' is missing"),
    "an empty password": (checked_users, {**USER, "password": ""}, "'password' isn't text, or empty"),
    "a name with a zero byte": (checked_users, {**USER, "username": "a\0"}, "'username' isn't text, or empty"),
    "an empty address": (checked_users, {**USER, "email": ""}, "'email' isn't text, or empty"),
    "a right in words": (checked_users, {**USER, "can_write": "yes"}, "'can_write' is neither True nor False"),
    "an unknown field": (checked_users, {**USER, "pasword": "x"}, "there is no field 'pasword'"),
    "a user that is text": (checked_users, "ann", "info[0] isn't a dict"),
    "a pattern for no column": (checked_patterns, {"password_hash": "%"}, "there is no field 'password_hash'"),
    "a pattern that is None": (checked_patterns, {"username": None}, "the pattern of 'username' isn't text"),
    "patterns that are text": (checked_patterns, "ann", "info[0] isn't a dict of patterns"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_a_request_is_a_value_error_that_names_it(fault):
    check, entry, message = FAULTS[fault]
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - the text is compared below
        check([entry])
    assert message in str(raised.value)
    assert "correct horse" not in str(raised.value)


@pytest.mark.parametrize(
    "when", ["2020-07-05_10-07-16", "2020-07-05T10:07:16Z", WHEN, WHEN.replace(tzinfo=UTC).astimezone(timezone.min)]
)
def test_datetimes_are_naive_in_utc_whatever_form_they_had(when):
    assert image_keys([{**IMAGE, "datetime": when}]) == [("1b74105a", WHEN)]
    series = {"device": "%", "start_datetime": when, "end_datetime": when}
    assert series_of([series]) == [("%", WHEN, WHEN)]


def test_annotations_are_whole_json_with_what_a_query_needs_beside_it():
    (found,) = checked_annotations([annotated()])
    assert found[:7] == ("info[0]", ("1b74105a", WHEN), "ab" * 16, "detector", "1", 1, json.dumps(annotated()))
    (found,) = checked_annotations([annotated(datetime="2020-07-05T10:07:16Z")], for_server=True)
    assert json.loads(found.json)["metadata"]["datetime"] == IMAGE["datetime"]


def test_annotations_go_in_requests_of_a_size_and_larger_ones_by_themselves():
    entries = [{**annotated(), "more": "x" * size} for size in (1, 1, 1, 5000, 1)]
    annotations = checked_annotations(entries)
    assert [len(group) for group in in_requests(annotations, 2 * len(annotations[0].json))] == [2, 1, 1, 1]
    assert in_requests([], 100) == []


@pytest.mark.parametrize(("what", "known"), [("metadata", "metadata"), ("json", "json"), ("data", "json")])
def test_data_is_another_word_for_json(what, known):
    assert checked_annotation_what(what) == known


def test_images_are_joined_with_each_of_their_annotations():
    images = [
        {"id": number, "device": device, "datetime": WHEN} for number, device in ((2, "b"), (1, "a"), (None, "c"))
    ]
    found = {"id": 7, "parent_image_id": 1, "algo_version": "1"}
    rows = join_annotations(images, [{**found, "algo_name": name} for name in ("x", "y", "x")])
    assert [(row["device"], row["algo_name"], row["id_annot"]) for row in rows] == [
        ("a", "x", 7),
        ("a", "y", 7),
        ("b", None, None),
        ("c", None, None),
    ]
    assert [make_key(row["device"], row["datetime"]) for row in rows] == sorted((row["device"], WHEN) for row in rows)


@given(st.text("aB%_\n*.", max_size=12), st.text("abB%_\n*.", max_size=12))
def test_patterns_match_as_in_sqlite(pattern, text):
    with closing(sqlite3.connect(":memory:")) as database:
        (expected,) = database.execute("SELECT ? LIKE ?", [text, pattern]).fetchone()
    found = matching([{"username": text}], checked_patterns({"username": pattern}))
    assert len(found) == expected


@pytest.mark.parametrize("pattern", ["%" * 100_000 + "x", "%a" * 1000 + "%b", "%a%" * 30 + "b", "_%" * 500 + "x"])
def test_no_pattern_takes_long(pattern):
    assert matching([{"username": "a" * 2000}, {"username": None}], [{"username": pattern}]) == []
