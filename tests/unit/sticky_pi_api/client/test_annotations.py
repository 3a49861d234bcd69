# ruff: noqa: DTZ001 - naive datetimes are UTC throughout
"""What every client does with annotations, whatever is behind it."""

import json
import sqlite3
from datetime import datetime, timedelta

import pytest
from api_server import ApiServer
from fault_proxy import Fault, Rule
from sticky_pi_api.client import LocalClient
from sticky_pi_api.exceptions import AccountError, DoubtfulError, NotAnAPIError, UnavailableError
from sticky_pi_api.transport.cancellation import Timeouts
from sticky_pi_api.validation.annotations import COLUMNS

TAKEN = datetime(2020, 7, 5, 10, 7, 16)
STEP = timedelta(minutes=20)
EVER = {"device": "%", "start_datetime": "2019-11-01_00-00-00", "end_datetime": "2100-01-01_00-00-00"}
PUT = "/put_uid_annotations"
NASTY = ["'); DROP TABLE images; --", 'a"b', "100 %_", "é" * 100_000, "?", ":json"]


@pytest.fixture
def images(client, make_trap_picture):
    """Put some pictures, and return their rows as they are held."""

    def put(count):
        client.put_images([make_trap_picture(size=(32, 24)) for _ in range(count)])
        return client.get_image_series([EVER])

    return put


def annotated(image, objects=1, name="detector", version="1598113346-ad2cd78d", **more):
    """Return annotations of an image, as `put_uid_annotations` takes them."""
    contour = [[[10, 20]], [[30, 20]], [[30, 40]]]
    one = {"contour": contour, "name": "insect", "fill_colour": "#0000ff", "stroke_colour": "#0000ff", "value": 1}
    metadata = {
        "algo_name": name,
        "algo_version": version,
        "device": image["device"],
        "datetime": f"{image['datetime']:%Y-%m-%d_%H-%M-%S}",
        "md5": image["md5"],
    }
    return {"annotations": [one] * objects, "metadata": {**metadata, **more}}


def test_annotations_come_back_as_metadata_and_whole(client, images):
    first, second, _ = images(3)
    given = [annotated(first, 3), annotated(second, 0)]
    rows = client.put_uid_annotations(given)
    assert [(row["parent_image_id"], row["n_objects"], row["json"]) for row in rows] == [
        (first["id"], 3, ""),
        (second["id"], 0, ""),
    ]
    assert rows[0].keys() >= set(COLUMNS) - {"api_user"}
    assert rows[0]["datetime_created"].tzinfo is None
    assert client.get_uid_annotations([first, second]) == rows
    whole = client.get_uid_annotations([first, second], "json")
    assert [json.loads(row["json"]) for row in whole] == given
    assert [{**row, "json": ""} for row in whole] == rows
    assert client.get_uid_annotations([first, second], "data") == whole


def test_a_series_has_the_annotations_of_its_images(client, images):
    first, second, third = images(3)
    client.put_uid_annotations([annotated(first), annotated(first, version="2"), annotated(third)])
    found = client.get_uid_annotations_series([EVER])
    assert sorted(row["parent_image_id"] for row in found) == [first["id"], first["id"], third["id"]]
    end = {**EVER, "end_datetime": third["datetime"]}
    (one, two) = client.get_uid_annotations_series([end], "json")
    assert {json.loads(row["json"])["metadata"]["algo_version"] for row in (one, two)} == {
        "1598113346-ad2cd78d",
        "2",
    }
    assert client.get_uid_annotations_series([{**EVER, "start_datetime": second["datetime"], "device": "zz%"}]) == []
    assert client.get_uid_annotations_series([]) == []


def test_an_unknown_image_has_no_annotations_and_neither_has_one_without(client, images):
    (image,) = images(1)
    unknown = {"device": "ffffffff", "datetime": TAKEN}
    for what in ("metadata", "json"):
        assert client.get_uid_annotations([image, unknown], what) == []
        assert client.get_uid_annotations([], what) == []
        assert client.get_uid_annotations_series([EVER], what) == []


def test_the_same_algorithm_and_version_twice_is_an_integrity_error_and_another_version_is_fine(client, images):
    first, second = images(2)
    client.put_uid_annotations([annotated(first)])
    with pytest.raises(sqlite3.IntegrityError, match=r"info\[1\].*'detector'"):
        client.put_uid_annotations([annotated(second), annotated(first)])
    with pytest.raises(sqlite3.IntegrityError, match=r"info\[1\]"):
        client.put_uid_annotations([annotated(second), annotated(second)])
    assert len(client.get_uid_annotations_series([EVER])) == 1
    client.put_uid_annotations([annotated(first, version="2"), annotated(first, name="another")])
    assert len(client.get_uid_annotations([first])) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"device": "ffffffff"}, "there is no image of 'device' 'ffffffff'"),
        ({"datetime": "2020-07-05_10-07-17"}, "there is no image of .* '2020-07-05_10-07-17'"),
        ({"md5": "0" * 32}, f"'md5' is '{'0' * 32}'"),
        ({"md5": 5}, "'md5' isn't text"),
        ({"datetime": "yesterday"}, "'datetime' of"),
        ({"algo_name": "zero\0byte"}, "'algo_name' isn't text"),
        ({"algo_version": "\ud800"}, "'algo_version' isn't text"),
        ({"device": None}, "'device' isn't text"),
    ],
)
def test_what_is_wrong_with_the_metadata_is_named_and_nothing_is_put(client, images, change, message):
    first, second = images(2)
    with pytest.raises(ValueError, match=rf"info\[1\].*{message}"):
        client.put_uid_annotations([annotated(second), annotated(first, **change)])
    assert client.get_uid_annotations_series([EVER]) == []


@pytest.mark.parametrize("field", ["algo_name", "algo_version", "device", "datetime", "md5"])
def test_a_missing_field_of_the_metadata_is_named(client, images, field):
    given = annotated(*images(1))
    del given["metadata"][field]
    with pytest.raises(ValueError, match=rf"info\[0\].*'{field}' is missing"):
        client.put_uid_annotations([given])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"annotations": {}}, "'annotations' isn't a list of dicts"),
        ({"annotations": [{}, "insect"]}, "'annotations' isn't a list of dicts"),
        ({"annotations": [{"contour": object()}]}, "no JSON form"),
        ({"annotations": [{"value": float("nan")}]}, "no JSON form"),
        ({"metadata": []}, "'metadata' isn't a dict"),
    ],
)
def test_what_is_wrong_with_the_shape_is_named(client, images, change, message):
    with pytest.raises(ValueError, match=rf"info\[0\].*{message}"):
        client.put_uid_annotations([{**annotated(*images(1)), **change}])


@pytest.mark.parametrize("entry", ["text", None, {}, {"annotations": []}, {"metadata": {}}])
def test_an_entry_without_its_parts_is_named(client, entry):
    with pytest.raises(ValueError, match=r"info\[0\]"):
        client.put_uid_annotations([entry])


@pytest.mark.parametrize("what", ["image", "", None, "METADATA"])
def test_what_is_not_known_is_refused_with_what_is(client, what):
    for ask in (
        client.get_uid_annotations,
        client.get_uid_annotations_series,
        lambda info, what: client.get_images_with_uid_annotations_series(info, what_annotation=what),
    ):
        with pytest.raises(ValueError, match="metadata, json"):
            ask([], what)


@pytest.mark.parametrize("text", NASTY, ids=range(len(NASTY)))
def test_no_text_of_a_caller_is_taken_for_anything_else(client, images, text):
    (image,) = images(1)
    (row,) = client.put_uid_annotations([annotated(image, name=text, version=text)])
    assert (row["algo_name"], row["algo_version"]) == (text, text)
    assert client.get_uid_annotations([image]) == [row]
    assert client.get_uid_annotations([{"device": text, "datetime": TAKEN}]) == []
    assert len(client.get_image_series([EVER])) == 1


def test_patterns_of_devices_that_no_database_takes_are_refused(client):
    for device in ("%" * 2000, "%\0", "\ud800"):
        with pytest.raises(ValueError, match="'device'"):
            client.get_uid_annotations_series([{**EVER, "device": device}])


def test_datetimes_are_taken_in_three_forms_and_devices_and_md5s_in_any_case(client, images):
    rows = images(3)
    whens = [rows[0]["datetime"], f"{rows[1]['datetime'].isoformat()}Z", f"{rows[2]['datetime']:%Y-%m-%d_%H-%M-%S}"]
    client.put_uid_annotations(
        [annotated(row, datetime=when, device=row["device"].upper()) for row, when in zip(rows, whens, strict=True)]
    )
    assert len(client.get_uid_annotations(rows)) == 3


def test_arrays_are_kept_as_lists(client, images):
    class Array:
        def tolist(self):
            return [[[1, 2]]]

    (image,) = images(1)
    client.put_uid_annotations([{**annotated(image), "annotations": [{"contour": Array()}]}])
    (row,) = client.get_uid_annotations([image], "json")
    assert json.loads(row["json"])["annotations"] == [{"contour": [[[1, 2]]]}]


def test_images_of_a_series_come_with_their_annotations(client, images):
    first, second, third = images(3)
    client.put_uid_annotations([annotated(third, 4), annotated(first, 2), annotated(first, 3, version="2")])
    rows = client.get_images_with_uid_annotations_series([EVER, EVER], what_annotation="json")
    assert [(row["datetime"], row["n_objects"]) for row in rows] == [
        (first["datetime"], 2),
        (first["datetime"], 3),
        (second["datetime"], None),
        (third["datetime"], 4),
    ]
    assert all(row.keys() == rows[0].keys() for row in rows)
    assert rows[0].items() >= first.items()
    assert rows[0]["parent_image_id"] == rows[0]["id"] == first["id"]
    assert isinstance(rows[0]["id_annot"], int)
    assert rows[0].keys() >= {"id_annot", "datetime_created_annot", "api_version_annot", "algo_name", "json"}
    assert "device_annot" not in rows[0]
    assert len(json.loads(rows[1]["json"])["annotations"]) == 3
    assert (rows[2]["id_annot"], rows[2]["json"], rows[2]["algo_name"]) == (None, None, None)
    (image, *_) = client.get_images_with_uid_annotations_series([EVER], "thumbnail")
    assert image["url"]
    assert image["json"] == ""


def test_images_of_a_series_without_any_annotation_have_the_same_fields(client, images):
    rows = images(2)
    found = client.get_images_with_uid_annotations_series([EVER])
    assert [row["id"] for row in found] == [row["id"] for row in rows]
    client.put_uid_annotations([annotated(rows[0])])
    (one, _) = client.get_images_with_uid_annotations_series([EVER])
    assert found[0].keys() >= one.keys()
    assert found[0]["algo_name"] is found[0]["id_annot"] is None
    assert client.get_images_with_uid_annotations_series([]) == []


def test_thousands_of_objects_on_an_image_and_many_images_come_back(client, images):
    rows = images(30)
    assert len(client.put_uid_annotations([annotated(row, 3000) for row in rows])) == 30
    found = client.get_uid_annotations_series([EVER], "json")
    assert [len(json.loads(row["json"])["annotations"]) for row in found] == [3000] * 30


# The embedded store


def test_annotations_are_gone_with_their_image(tmp_path, make_trap_picture):
    with LocalClient(tmp_path / "store") as client:
        client.put_images([make_trap_picture(), make_trap_picture()])
        first, second = client.get_image_series([EVER])
        client.put_uid_annotations([annotated(first), annotated(second)])
        client._database._connection.execute("DELETE FROM images WHERE id = ?", (first["id"],))
        (row,) = client.get_uid_annotations([first, second])
        assert row["parent_image_id"] == second["id"]
        assert client._database.read("SELECT count(*) FROM uid_annotations")[0][0] == 1


def test_reading_metadata_leaves_the_json_alone(tmp_path, make_trap_picture):
    with LocalClient(tmp_path / "store") as client:
        client.put_images([make_trap_picture()])
        (image,) = client.get_image_series([EVER])
        client.put_uid_annotations([annotated(image, 20_000)])
        page = client._database.read("PRAGMA page_size")[0][0]
        client._database._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    # Where the JSON lies, the file is damaged: whoever reads it gets something else.
    database = tmp_path / "store" / "database.db"
    with sqlite3.connect(database) as connection:
        plan = connection.execute("SELECT pageno FROM dbstat WHERE name = 'uid_annotations' AND pagetype = 'overflow'")
        try:
            pages = [number for (number,) in plan]
        except sqlite3.OperationalError:
            pytest.skip("this SQLite has no dbstat")
    connection.close()
    assert pages
    with database.open("r+b") as file:
        for number in pages:
            file.seek((number - 1) * page)
            file.write(b"\xff" * page)
    with LocalClient(tmp_path / "store") as client:
        (row,) = client.get_uid_annotations([image])
        assert (row["n_objects"], row["json"], row["api_version"]) == (20_000, "", "1")


# A server


def strike(kind, times=1, path=PUT, **details):
    return {"rules": (Rule((Fault(kind, **details),), path=path, times=times),)}


@pytest.fixture
def held(server, make_trap_picture):
    """Let the server hold two pictures, and make annotations of them."""
    for path in (make_trap_picture(), make_trap_picture()):
        server.hold(path.name, path.read_bytes())
    return lambda client: [annotated(row) for row in client.get_image_series([EVER])]


def test_nothing_is_sent_that_the_server_would_refuse(server, remote, held):
    client = remote(server.port)
    first, second = held(client)
    client.put_uid_annotations([first])
    before = len(server.requests(PUT))
    for wrong in (first, {**second, "metadata": {**second["metadata"], "md5": "0" * 32}}):
        with pytest.raises((sqlite3.IntegrityError, ValueError)):
            client.put_uid_annotations([second, wrong])
    assert client.put_uid_annotations([]) == []
    assert len(server.requests(PUT)) == before


def test_an_answer_that_is_lost_is_made_good_by_asking_again(server, proxy, remote, held):
    client = remote(proxy.port, timeouts=Timeouts(connect=2.0, read=2.0, whole=5.0))
    given = held(client)
    proxy.set(**strike("lose_answer"))
    rows = client.put_uid_annotations(given)
    assert [row["n_objects"] for row in rows] == [1, 1]
    assert len(server.requests(PUT)) == 1


def test_a_request_that_is_lost_is_said_to_be_doubtful_and_may_be_sent_again(server, proxy, remote, held):
    client = remote(proxy.port, timeouts=Timeouts(connect=2.0, read=2.0, whole=5.0))
    given = held(client)
    proxy.set(**strike("reset", at=600))
    with pytest.raises(DoubtfulError, match="isn't known"):
        client.put_uid_annotations(given)
    assert len(client.put_uid_annotations(given)) == 2


def test_a_server_that_is_busy_is_said(server, remote, held):
    client = remote(server.port)
    given = held(client)
    server.set_mode("maintenance", paths=["/get_uid_annotations"])
    with pytest.raises(UnavailableError):
        client.put_uid_annotations(given)
    assert server.requests(PUT) == []


@pytest.mark.parametrize("number", [[1], None, "1"])
def test_a_server_whose_images_have_no_id_is_no_api(server, proxy, remote, held, number):
    client = remote(proxy.port)
    first, second = held(client)
    client.put_uid_annotations([first])
    row = {name: second["metadata"][name] for name in ("device", "md5")} | {
        "datetime": "2020-07-05_10-07-16",
        "id": number,
    }
    for path, ask in (
        ("/get_images/", lambda: client.put_uid_annotations([second])),
        ("/get_image_series/", lambda: client.get_uid_annotations_series([EVER], "json")),
    ):
        proxy.set(**strike("replace", path=path, status=200, body=json.dumps([row])))
        with pytest.raises(NotAnAPIError, match="no id"):
            ask()


@pytest.mark.parametrize("number", [[1], None, "1"])
def test_images_without_an_id_have_no_annotations_when_they_are_joined(server, proxy, remote, held, number):
    client = remote(proxy.port)
    client.put_uid_annotations(held(client))
    row = {"device": "1b74105a", "md5": "0" * 32, "datetime": "2020-07-05_10-07-16", "id": number}
    proxy.set(**strike("replace", path="/get_image_series/", status=200, body=json.dumps([row])))
    (joined,) = client.get_images_with_uid_annotations_series([EVER])
    assert joined["algo_name"] is None


def test_who_may_not_write_is_told(server, remote, held):
    client = remote(server.port, username="guest")
    with pytest.raises(AccountError, match="status 403"):
        client.put_uid_annotations(held(client))


def test_the_json_of_many_images_is_asked_for_in_parts(tmp_path, remote, make_trap_picture):
    with ApiServer(tmp_path / "server") as server:
        for path in [make_trap_picture(size=(32, 24)) for _ in range(45)]:
            server.hold(path.name, path.read_bytes())
        client = remote(server.port)
        client.put_uid_annotations([annotated(row) for row in client.get_image_series([EVER])[:41]])
        assert len(client.get_uid_annotations_series([EVER], "data")) == 41
        assert [entry.entries for entry in server.requests("/get_uid_annotations/json")] == [20, 20, 1]
