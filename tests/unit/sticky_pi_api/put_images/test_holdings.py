"""What a destination really has of pictures that it is said to have."""

import os
from datetime import datetime

import pytest
from scripts import says
from sticky_pi_api.exceptions import UnavailableError
from sticky_pi_api.image_parser import ImageParser
from sticky_pi_api.put_images.holdings import Claim, Holding, StoredObject
from sticky_pi_api.remote.objects import look_at

OF_SERVERS = pytest.mark.parametrize("kind", [2021, 2023])
"""A store's files are its own, and are read"""


@pytest.fixture
def claim(client, make_trap_picture):
    """Put a picture, and claim that it is held."""

    def put():
        path = make_trap_picture()
        client.put_images([path])
        picture = ImageParser(path)
        return Claim(picture["device"], picture["datetime"], picture["md5"], os.path.getsize(path))

    return put


@pytest.fixture
def overwrite(kind, standing_servers, tmp_path):
    """Replace a stored picture's bytes behind its row's back; None removes them."""

    def overwrite(claim, blob):
        name = f"{claim.device}.{claim.datetime:%Y-%m-%d_%H-%M-%S}.jpg"
        if kind != "local":
            standing_servers[kind].overwrite(name, blob)
        elif blob is None:
            next((tmp_path / "client").rglob(name)).unlink()
        else:
            next((tmp_path / "client").rglob(name)).write_bytes(blob)

    return overwrite


def test_what_is_held_as_it_was_sent_is_confirmed(client, claim):
    claims = [claim(), claim()]
    assert client.holdings(claims) == [Holding.CONFIRMED] * 2


def test_nothing_is_asked_for_nothing(client):
    assert client.holdings([]) == []


def test_what_was_never_sent_is_absent_in_its_place_among_the_others(client, claim, make_trap_picture):
    held = claim()
    picture = ImageParser(make_trap_picture())
    absent = Claim(picture["device"], picture["datetime"], picture["md5"], 1)
    assert client.holdings([absent, held]) == [Holding.ABSENT, Holding.CONFIRMED]


def test_the_case_of_the_device_doesnt_matter(client, claim):
    held = claim()
    assert client.holdings([Claim(held.device.upper(), held.datetime, held.md5, held.size)]) == [Holding.CONFIRMED]


def test_another_md5_in_the_row_is_another_picture(client, claim):
    held = claim()
    assert client.holdings([Claim(held.device, held.datetime, "0" * 32, held.size)]) == [Holding.OTHER]


@pytest.mark.parametrize("change", ["longer", "same length", "empty", "gone"])
def test_a_stored_object_that_was_overwritten_is_found_behind_a_row_that_says_nothing_of_it(
    client, claim, overwrite, change
):
    held = claim()
    overwrite(
        held, {"longer": bytes(held.size + 1), "same length": bytes(held.size), "empty": b"", "gone": None}[change]
    )
    assert client.holdings([held]) == [Holding.OVERWRITTEN]


def test_an_object_that_is_empty_is_that_pictures_affair_alone(client, claim, overwrite):
    claims = [claim(), claim(), claim()]
    overwrite(claims[1], b"")
    assert client.holdings(claims) == [Holding.CONFIRMED, Holding.OVERWRITTEN, Holding.CONFIRMED]


@pytest.mark.parametrize(("told", "size"), [((), 0), (("bytes */0",), 0), (("x",), 0), (("bytes */7",), 7)])
def test_a_storage_without_a_first_byte_has_an_empty_object_unless_it_tells_the_size(http, answering, told, size):
    port, _ = answering(says(b"", "416 Range Not Satisfiable", *(f"Content-Range: {one}" for one in told)))
    one = http(f"http://127.0.0.1:{port}")
    assert look_at(one, f"{one.address}/x") == StoredObject(size, None)


@OF_SERVERS
def test_looking_at_a_servers_objects_doesnt_fetch_them_whole(kind, standing_servers, client, claim):
    claims = [claim(), claim(), claim()]
    before = len(standing_servers[kind].requests())
    client.holdings(claims)
    questions, *looks = standing_servers[kind].requests()[before:]
    assert questions.path.startswith("/get_images/image")
    assert [look.path.startswith("/objects/") for look in looks] == [True] * 3
    # What leads to the storage isn't for the account.
    assert all(look.auth == "none" for look in looks)
    assert all(look.headers["range"] == "bytes=0-0" for look in looks)


@OF_SERVERS
def test_an_object_that_may_not_be_looked_at_leaves_the_row(kind, standing_servers, client, claim):
    held = claim()
    standing_servers[kind].set_mode("unauthorised", paths=["/objects/"])
    assert client.holdings([held]) == [Holding.ROW_ONLY]


@OF_SERVERS
def test_a_storage_that_is_down_is_no_answer(kind, standing_servers, client, claim):
    held = claim()
    standing_servers[kind].set_mode("maintenance", paths=["/objects/"])
    with pytest.raises(UnavailableError):
        client.holdings([held])


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (StoredObject(10, "a" * 32), True),
        (StoredObject(None, "a" * 32), True),
        (StoredObject(10, None), None),
        (StoredObject(None, None), None),
        (StoredObject(11, None), False),
        (StoredObject(11, "a" * 32), False),
        (StoredObject(10, "b" * 32), False),
    ],
)
def test_what_is_known_of_an_object_says_whether_it_is_the_picture_or_that_it_cant_be_told(found, said):
    assert found.is_of(Claim("1b74105a", datetime(2020, 1, 1), "a" * 32, 10)) is said  # noqa: DTZ001
