"""A store stays within its folder: links in there are named and never followed."""

import os
from contextlib import ExitStack

import mounted
import pytest
from sent_card import folder_elsewhere
from sticky_pi_api.client import LocalClient
from sticky_pi_api.exceptions import StoreError
from sticky_pi_api.filesystem.safe_open import file_system_id
from sticky_pi_api.filesystem.store_folder import file_systems, require_no_links
from sticky_pi_api.image_parser import ImageParser
from sticky_pi_api.put_images.holdings import Claim, Holding
from sticky_pi_api.types import Outcome


@pytest.fixture
def store(tmp_path):
    return tmp_path / "store"


@pytest.fixture
def outside(tmp_path):
    (tmp_path / "outside").mkdir()
    return tmp_path / "outside"


def put(store, picture):
    seen = []
    with LocalClient(store) as client:
        client.put_images([picture], on_outcome=seen.append)
    (one,) = seen
    return one


@pytest.mark.parametrize(
    ("link", "is_whole"), [("raw_images", True), ("raw_images/.incoming", True), ("raw_images/1b74105a", False)]
)
def test_no_picture_goes_through_a_link(store, outside, make_trap_picture, link, is_whole):
    (store / link).parent.mkdir(parents=True)
    (store / link).symlink_to(outside)
    one = put(store, make_trap_picture())
    assert one.outcome is Outcome.UNSENT
    assert isinstance(one.error, StoreError)
    assert one.error.whole_store is is_whole
    assert f"({store / link})" in str(one.error)
    assert "is a link: move the whole store instead" in str(one.error)
    assert list(outside.rglob("*")) == []
    (store / link).unlink()
    assert put(store, make_trap_picture()).outcome is Outcome.STORED


def test_a_picture_that_a_link_would_lead_back_to_is_left_as_it_is(store, make_trap_picture, tmp_path):
    picture = make_trap_picture(tmp_path / "card" / "1b74105a")
    before = picture.stat().st_ino
    store.mkdir()
    (store / "raw_images").symlink_to(tmp_path / "card")
    assert put(store, picture).outcome is Outcome.UNSENT
    assert picture.stat().st_ino == before
    assert [*(tmp_path / "card").rglob("*.*")] == [picture]


@pytest.mark.parametrize("end", ["", "-journal", "-wal", "-shm"])
def test_no_database_is_opened_through_a_link(store, outside, end):
    store.mkdir()
    (store / f"database.db{end}").symlink_to(outside / "file")
    with pytest.raises(StoreError, match="is a link: move the whole store instead") as caught:
        LocalClient(store)
    assert caught.value.whole_store
    assert list(outside.iterdir()) == []


def test_no_password_is_written_through_a_link(store, outside):
    store.mkdir()
    (store / "passwords.db").symlink_to(outside / "file")
    with LocalClient(store) as client, pytest.raises(StoreError, match="is a link: move the whole store instead"):
        client.put_users([{"username": "ann", "password": "secret"}])
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("link", ["ml", "ml/my-bundle"])
def test_no_bundle_goes_through_a_link(store, outside, tmp_path, link):
    (tmp_path / "bundle" / "data").mkdir(parents=True)
    (tmp_path / "bundle" / "data" / "a.svg").write_text("<svg/>", "utf-8")
    (store / link).parent.mkdir(parents=True)
    (store / link).symlink_to(outside)
    with LocalClient(store) as client:
        with pytest.raises(StoreError, match="is a link: move the whole store instead"):
            client.put_ml_bundle_dir("my-bundle", str(tmp_path / "bundle"), "data")
        with pytest.raises(StoreError, match="is a link"):
            client.get_ml_bundle_dir("my-bundle", str(tmp_path / "back"), "data")
    assert list(outside.iterdir()) == []


def test_the_store_itself_may_be_a_link(store, outside, make_trap_picture):
    store.symlink_to(outside)
    assert put(store, make_trap_picture()).outcome is Outcome.STORED
    assert len([*outside.glob("raw_images/1b74105a/*.jpg")]) == 1
    require_no_links(str(store))


@pytest.mark.parametrize(
    "link", ["database.db", "passwords.db-wal", "raw_images", "raw_images/.incoming", "raw_images/1b74105a", "ml/a"]
)
def test_a_link_is_found_without_opening_anything(store, outside, link):
    (store / link).parent.mkdir(parents=True)
    (store / link).symlink_to(outside)
    with pytest.raises(OSError, match="is a link: move the whole store instead") as caught:
        require_no_links(str(store))
    assert caught.value.filename == str(store / link)


def stored(store, make_trap_picture):
    """Put a picture; return where it lies, and the claim that it is held."""
    path = make_trap_picture()
    assert put(store, path).outcome is Outcome.STORED
    picture = ImageParser(path)
    (place,) = store.rglob(path.name)
    return place, Claim(picture["device"], picture["datetime"], picture["md5"], os.path.getsize(path))


def holding(store, claim):
    with LocalClient(store) as client:
        return client.holdings([claim])[0]


def test_a_link_in_a_stored_pictures_place_is_no_copy_of_it(store, outside, make_trap_picture):
    place, claim = stored(store, make_trap_picture)
    assert holding(store, claim) is Holding.CONFIRMED
    place.rename(outside / "it")
    place.symlink_to(outside / "it")
    assert holding(store, claim) is Holding.OVERWRITTEN


def test_what_a_store_has_through_a_link_cant_be_told(store, outside, make_trap_picture):
    place, claim = stored(store, make_trap_picture)
    place.parent.rename(outside / "1b74105a")
    place.parent.symlink_to(outside / "1b74105a")
    with pytest.raises(StoreError, match="is a link"):
        holding(store, claim)


@pytest.fixture
def elsewhere(tmp_path):
    """A folder on another file system than tmp_path."""
    with folder_elsewhere(tmp_path) as folder:
        yield folder


def test_a_copy_on_the_file_system_of_the_picture_is_told_from_one_elsewhere(store, make_trap_picture, elsewhere):
    for folder, expected in ((store, Holding.SAME_DISK), (elsewhere / "store", Holding.CONFIRMED)):
        _, claim = stored(folder, make_trap_picture)
        assert holding(folder, claim._replace(file_system=file_system_id(str(store)))) is expected


@pytest.fixture
def bound():
    """Mount folders on others for the time of the test."""
    with ExitStack() as stack:
        yield lambda source, place: stack.enter_context(mounted.bound(source, place))


def test_the_file_systems_of_a_store_are_those_of_all_its_folders(store, elsewhere, bound, tmp_path):
    (store / "raw_images" / "1b74105a").mkdir(parents=True)
    (store / "raw_images" / "note.txt").touch()
    mine = file_systems(str(store))
    assert mine == {file_system_id(str(tmp_path))}
    bound(elsewhere, store / "raw_images" / "1b74105a")
    assert file_systems(str(store)) == {*mine, file_system_id(str(elsewhere))}
