"""What the reference server does with annotations and users."""

import hashlib
import json

import pytest

WHEN = "2020-07-05_10-00-00"


@pytest.fixture
def held(trap, picture, generation):
    """A server that holds a picture, a visitor, and annotations of it."""
    server, visitor = trap(generation=generation)
    name, blob = picture()
    server.hold(name, blob)
    md5 = hashlib.md5(blob, usedforsecurity=False).hexdigest()
    metadata = {"algo_name": "a", "algo_version": "1", "device": "1b74105a", "datetime": WHEN, "md5": md5}
    return server, visitor, {"annotations": [{}, {}], "metadata": metadata}


def ask(visitor, what, when=WHEN):
    return visitor.post(f"/get_uid_annotations/{what}", json=[{"device": "1b74105a", "datetime": when}])


def test_annotations_have_ids_and_the_datetimes_of_the_generation(held, generation):
    _, visitor, given = held
    (row,) = visitor.post("/put_uid_annotations", json=[given]).json()
    (image,) = visitor.ask(("1b74105a", WHEN)).json()
    assert (row["parent_image_id"], row["n_objects"], row["json"]) == (image["id"], 2, "")
    assert isinstance(row["id"], int)
    assert row["datetime_created"][10] == {2021: "_", 2023: "T"}[generation]
    assert ask(visitor, "metadata").json() == [row]
    (whole,) = ask(visitor, "json").json()
    assert json.loads(whole["json"]) == given
    series = [{"device": "%", "start_datetime": WHEN, "end_datetime": "2020-07-05_10-00-01"}]
    assert visitor.post("/get_uid_annotations_series/metadata", json=series).json() == [row]
    assert ask(visitor, "metadata", "2020-07-05_11-00-00").json() == []


def test_annotations_that_cannot_be_stored_are_a_500_and_none_of_the_request_is(held):
    _, visitor, given = held
    for change in ({"md5": "0" * 32}, {"device": "ffffffff"}, {"datetime": "now"}, {}):
        wrong = {**given, "metadata": {**given["metadata"], **change}}
        fresh = {**given, "metadata": {**given["metadata"], "algo_version": "2"}}
        # Without a change, it is the same annotations twice.
        answer = visitor.post("/put_uid_annotations", json=[fresh, given, wrong])
        assert answer.status_code == 500
    assert ask(visitor, "metadata").json() == []
    assert ask(visitor, "nonsense").status_code == 500


def test_a_reader_adds_neither_annotations_nor_users(held):
    _, visitor, given = held
    visitor.log_in("guest")
    assert visitor.post("/put_uid_annotations", json=[given]).status_code == 403
    assert visitor.post("/put_users", json=[{"username": "ann", "password": "x"}]).status_code == 403
    assert visitor.post("/get_users", data="null").json() == []


def test_users_are_found_by_the_patterns_of_the_generation_and_have_no_password(trap, generation):
    _, visitor = trap(generation=generation)
    made = visitor.post("/put_users", json=[{"username": name, "password": "secret"} for name in ("ann", "bob")])
    assert "secret" not in made.text
    one = {"username": "A%"}
    right, wrong = (one, [one]) if generation == 2021 else ([one], one)
    assert visitor.post("/get_users", json=right).json() == made.json()[:1]
    assert visitor.post("/get_users", json=wrong).status_code == 500


def test_a_user_that_exists_is_a_500_and_none_of_the_request_is_added(trap, generation):
    _, visitor = trap(generation=generation)
    ann, bob = ({"username": name, "password": "x"} for name in ("ann", "bob"))
    assert visitor.post("/put_users", json=[ann]).status_code == 200
    for wrong in (ann, {"username": "ANN", "password": "x"}, {"username": "carol"}, {**bob, "nonsense": 1}):
        assert visitor.post("/put_users", json=[bob, wrong]).status_code == 500
    assert [row["username"] for row in visitor.post("/get_users", data="null").json()] == ["ann"]
