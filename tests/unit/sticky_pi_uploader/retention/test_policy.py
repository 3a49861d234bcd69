"""Retention on a real image folder, with a real outbox and a real store on another file system."""

import os
import shutil
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from flushes import flushes
from mounted import bound
from sent_card import MAKE_REMOVAL, NOW, TAKEN, Card, folder_elsewhere, run
from sticky_pi_api.client import LocalClient
from sticky_pi_api.exceptions import UnreachableError
from sticky_pi_uploader.models import State
from sticky_pi_uploader.outbox import outbox_path
from sticky_pi_uploader.retention.policy import DAY, INTERVAL, LOW_SPACE_INTERVAL

NEW_YEAR_2000 = 946_684_800.0
EVERYTHING = lambda size: size  # noqa: E731


@pytest.fixture
def elsewhere(tmp_path):
    """A folder on another file system than tmp_path."""
    with folder_elsewhere(tmp_path) as folder:
        yield folder


@pytest.fixture
def card(tmp_path, elsewhere, make_trap_picture):
    (elsewhere / "store").mkdir()
    card = Card(tmp_path, elsewhere / "store", make_trap_picture)
    yield card
    card.outbox.close()


def test_a_picture_goes_when_it_was_kept_for_its_days_after_the_upload_and_no_sooner(card):
    card.add(0, 1).send()
    card.now += 29 * DAY
    assert run(card.retention()) == INTERVAL
    assert card.left() == [0, 1]
    card.now += 2 * DAY
    run(card.retention())
    assert card.left() == []
    picture = card.picture(0)
    assert (picture.state, picture.removed_at, picture.receipt_md5) == (State.UPLOADED, card.now, picture.md5)
    assert [event.why for event in card.outbox.history(picture)][-1] == "removed from the card"


def change(sql):
    """Return what changes the row of picture 0 in the outbox."""
    return lambda card: card.outbox.database.connection.execute(
        f"UPDATE pictures SET {sql} WHERE name LIKE '%.2020-07-05%'"
    )


def change_store(sql):
    """Return what changes the row of picture 0 in the store."""

    def change(card):
        with closing(sqlite3.connect(f"{card.store}/database.db")) as database, database:
            database.execute(f"{sql} WHERE datetime LIKE '2020-07-05%'")

    return change


def stored_file(card):
    (stored,) = Path(card.store, "raw_images").rglob("1b74105a.2020-07-05*.jpg")
    return stored


def without_receipt(card):
    card.outbox.database.connection.execute("PRAGMA ignore_check_constraints = ON")
    change("receipt_md5 = NULL")(card)


def with_destination_down(card):
    def down():
        raise UnreachableError("no route")

    card.open_client = down


STAYS = {
    "another card's": change("file_system = 'another card'"),
    "to be read again": change("recheck = 1"),
    "not to be seen": change("present = 0"),
    "without its receipt": without_receipt,
    "lost by the destination": change_store("DELETE FROM images"),
    "another one there by now": change_store(f"UPDATE images SET md5 = '{'0' * 32}'"),
    "stored file overwritten": lambda card: stored_file(card).write_bytes(stored_file(card).read_bytes()[:-1] + b"!"),
    "stored file missing": lambda card: stored_file(card).unlink(),
    "destination down": with_destination_down,
    "stopping": lambda card: setattr(card, "stop", True),
}


@pytest.mark.parametrize("what", STAYS)
def test_a_sent_picture_stays_where_its_copy_or_its_row_is_in_doubt(card, what):
    card.add(0, 1).send()
    STAYS[what](card)
    card.now += 1000 * DAY
    run(card.retention(min_free=EVERYTHING))
    picture = card.picture(0)
    states = {"lost by the destination": State.PENDING, "another one there by now": State.CONFLICT}
    assert (picture.state, picture.removed_at) == (states.get(what, State.UPLOADED), None)
    assert what not in states or picture.receipt_md5 is None
    assert card.left() == ([0, 1] if what in ("destination down", "stopping") else [0])


@pytest.mark.parametrize("kind", ["pending", "suspect", "rejected", "conflict"])
def test_what_has_no_receipt_or_is_odd_never_goes(card, kind):
    odd(card, kind)
    card.now += 1000 * DAY
    run(card.retention(min_free=EVERYTHING))
    assert card.left() == [0]


@pytest.mark.parametrize("policy", [{"keep_days": None}, {"store": "the card's disk"}], ids=["no days", "same disk"])
def test_nothing_goes_without_days_or_for_a_store_on_the_same_disk_however_full_it_is(card, policy):
    card.add(0).send()
    card.now += 1000 * DAY
    policy |= {"store": str(card.images.parent)} if "store" in policy else {}
    assert run(card.retention(**policy, min_free=EVERYTHING)) == LOW_SPACE_INTERVAL
    assert card.left() == [0]


def test_too_little_space_lets_pictures_go_before_their_days_the_oldest_first_and_only_as_many_as_it_takes(card):
    card.add(*range(50)).send()
    free = os.statvfs(card.images)
    there = free.f_bavail * free.f_frsize
    answers = iter([True] * 3)
    # As if the first twenty made room enough.
    retention = card.retention(min_free=lambda _: there * 2 if next(answers, False) else 0)
    run(retention)
    assert [number for number in range(50) if card.path(number).exists()] == list(range(20, 50))


@pytest.mark.parametrize("kind", ["suspect", "rejected", "conflict"])
def test_what_the_owner_names_may_go(card, kind):
    odd(card, kind)
    card.now += 31 * DAY
    run(card.retention(also_remove=(kind,)))
    assert card.left() == []
    # It isn't called lost.
    assert (card.picture(0).state, card.picture(0).removed_at) == (
        State.UPLOADED if kind == "suspect" else State(kind),
        card.now,
    )
    assert card.outbox.catalog.folders_to_check() == set()


@pytest.mark.parametrize("is_doubted", [False, True])
def test_mere_notes_keep_nothing_but_along_with_a_doubt_it_stays(card, is_doubted):
    card.add(0, 1)
    with card.path(0).open("ab") as file:
        file.write(bytes(4096))
    later = card.now + 1000 * DAY
    if is_doubted:
        card.now = (TAKEN - timedelta(days=10)).timestamp()
    card.send()
    card.now = later
    assert card.picture(0).state is State.UPLOADED
    assert card.picture(0).suspect.endswith("note: 4096 bytes behind the end")
    run(card.retention())
    assert card.left() == ([0, 1] if is_doubted else [])


def odd(card, kind):
    """Make picture 0 one of this kind."""
    if kind == "conflict":
        other = card.make_picture(card.images, when=TAKEN, size=(200, 100))
        with LocalClient(card.store) as client:
            client.put_images([other])
        other.unlink()
    card.add(0)
    if kind == "pending":
        card.take_in()
        return
    if kind == "rejected":
        card.path(0).write_bytes(bytes(card.path(0).stat().st_size))
    elif kind == "suspect":
        card.now = (TAKEN - timedelta(days=10)).timestamp()
    card.send()
    picture = card.picture(0)
    assert kind in (picture.state.value, "suspect" if picture.suspect else "")
    assert kind != "suspect" or picture.state is State.UPLOADED


def test_nothing_goes_for_a_store_whose_pictures_are_a_link_to_the_card(card):
    store = Path(card.store)
    card.add(0, 1).send()
    assert card.picture(0).state is State.UPLOADED
    pictures = card.images.parent / "other folder of the card"
    shutil.move(store / "raw_images", pictures)
    (store / "raw_images").symlink_to(pictures)
    run(card.retention(keep_days=0))
    assert card.left() == [0, 1]
    # Nor is more sent to it.
    card.add(2).send()
    assert card.picture(2).state is State.PENDING
    assert "raw_images in it is a link: move the whole store instead" in card.outbox.destination(card.url).reason
    (store / "raw_images").unlink()
    shutil.move(pictures, store / "raw_images")
    card.now += DAY
    card.send()
    card.now += 1
    run(card.retention(keep_days=0))
    assert card.left() == []


def test_no_copy_takes_a_pictures_place_through_a_link_to_the_image_folder(card):
    picture = card.make_picture(card.images / "1b74105a", when=TAKEN)
    before = picture.stat().st_ino
    (Path(card.store) / "raw_images").symlink_to(card.images)
    card.send()
    run(card.retention(keep_days=0))
    assert picture.stat().st_ino == before
    assert [path for path in card.images.rglob("*") if path.is_file()] == [picture]


@pytest.mark.parametrize("place", ["raw_images", "raw_images/1b74105a"])
def test_nothing_goes_for_a_store_whose_pictures_lie_on_the_card_by_a_mount(card, place, caplog):
    card.add(0, 1).send()
    pictures, mounted = card.images.parent / "other folder of the card", Path(card.store, place)
    shutil.move(mounted, pictures)
    with bound(pictures, mounted):
        run(card.retention(keep_days=0))
        assert card.left() == [0, 1]
        assert "the destination is a store on the same disk" in caplog.text
        # Also where it is mounted between this question and the next.
        removal = card.removal()
        removal.remove([card.picture(0), card.picture(1)], enough=lambda: False)
        assert card.left() == [0, 1]
        assert caplog.text.count("the destination's copy lies on the same disk") == 1


def test_a_file_that_is_no_longer_the_one_sent_stays_and_is_read_again(card):
    card.add(0, 1).send()
    card.make_picture(card.path(0).parent, when=TAKEN, size=(300, 200))
    card.now += 31 * DAY
    run(card.retention())
    assert card.left() == [0]
    request = card.scan_requests.take()
    assert [str(card.path(0).relative_to(card.images))] == list(request.files)


def test_what_is_no_picture_and_took_the_place_of_one_that_was_sent_stays_though_it_was_looked_at(card):
    """It is nowhere else, whatever it is."""
    card.add(0, 1).send()
    card.path(0).write_bytes(bytes(card.path(0).stat().st_size))
    card.take_in()
    card.now += 31 * DAY
    run(card.retention())
    assert (card.left(), card.picture(0).state) == ([0], State.UPLOADED)


def test_a_file_that_was_only_touched_goes_once_it_was_looked_at(card):
    card.add(0).send()
    os.utime(card.path(0))
    card.now += 31 * DAY
    run(card.retention())
    assert card.left() == [0]
    assert list(card.scan_requests.take().files) == [str(card.path(0).relative_to(card.images))]
    card.take_in()
    run(card.retention())
    assert card.left() == []


def test_a_file_that_was_removed_before_it_could_be_recorded_is_recorded_later(card):
    card.add(0, 1).send()
    card.path(0).unlink()
    card.now += 31 * DAY
    run(card.retention())
    assert card.picture(0).removed_at == card.now
    assert [event.why for event in card.outbox.history(card.picture(0))][-1] == "gone from the card"


REMOVE_ONE = f"""{MAKE_REMOVAL}    print("begin", flush=True)
    removal.remove(list(outbox.pictures()), enough=lambda: False)
"""


def test_a_removal_is_flushed_before_it_is_recorded(card, tmp_path):
    card.add(0).send()
    card.outbox.close()
    path = outbox_path(str(tmp_path))
    calls = flushes(tmp_path / "log", REMOVE_ONE, path, card.images, card.store)
    hidden = str(card.path(0).with_name(f".{card.path(0).name}.removing"))
    renamed = calls.index(("rename", hidden))
    unlinked = calls.index(("unlink", hidden))
    folder = calls.index(("flush", str(card.path(0).parent)))
    assert renamed < unlinked < folder < calls.index(("flush", f"{path}-wal"))


def test_pictures_whose_folder_was_renamed_go_from_there_once_a_scan_found_them(card):
    card.add(0, 1).send()
    os.rename(card.images / "1b74105a", card.images / "away")
    card.now += 31 * DAY
    run(card.retention())
    assert len(list(card.images.rglob("*.jpg"))) == 2
    card.scan()
    assert [picture.removed_at for picture in card.outbox.pictures()] == [None, None]
    run(card.retention())
    assert [picture.path[:5] for picture in card.outbox.pictures() if picture.removed_at] == ["away/", "away/"]
    assert not any(card.images.rglob("*.jpg"))


def test_more_pictures_than_are_asked_for_at_once_all_go(card):
    card.add(*range(130)).send()
    card.now += 31 * DAY
    run(card.retention())
    assert not any(card.images.rglob("*.jpg"))


def test_what_cant_go_holds_up_nothing(card):
    card.add(*range(110)).send()
    for stored in Path(card.store, "raw_images").rglob("*.jpg"):
        if stored.name < "1b74105a.2020-10-13":
            stored.unlink()
    card.now += 31 * DAY
    run(card.retention())
    assert 0 < sum(card.path(number).exists() for number in range(110)) < 105
    assert not card.path(109).exists()


def test_a_removed_picture_that_comes_back_is_known_and_goes_again(card):
    card.add(0).send()
    content = card.path(0).read_bytes()
    card.now += 31 * DAY
    run(card.retention())
    card.path(0).parent.mkdir(exist_ok=True)
    card.path(0).write_bytes(content)
    card.take_in()
    assert (card.picture(0).state, card.picture(0).removed_at) == (State.UPLOADED, None)
    run(card.retention())
    assert card.left() == []


def test_what_was_sent_while_the_clock_was_not_set_is_kept_for_its_days_from_when_it_is(card):
    card.now = NEW_YEAR_2000
    card.add(0).send()
    run(card.retention())
    card.now = NOW
    run(card.retention())
    card.now += 29 * DAY
    run(card.retention())
    assert card.left() == [0]
    card.now += 2 * DAY
    run(card.retention())
    assert card.left() == []


def test_what_was_removed_while_the_clock_was_not_set_is_remembered_for_its_days_from_when_it_is(card):
    card.now = NEW_YEAR_2000
    card.add(0).send()
    run(card.retention(min_free=EVERYTHING))
    assert card.left() == []
    card.now = NOW
    run(card.retention())
    card.now += 399 * DAY
    run(card.retention())
    assert card.picture(0) is not None
    card.now += 2 * DAY
    run(card.retention())
    assert card.picture(0) is None


def test_a_removed_picture_is_remembered_for_its_days_and_then_forgotten_with_its_thumbnails(card):
    card.add(0).send()
    md5 = card.picture(0).md5
    card.now += 31 * DAY
    run(card.retention())
    card.now += 399 * DAY
    run(card.retention())
    assert card.picture(0) is not None
    assert card.thumbnails.find(md5) is not None
    card.now += 2 * DAY
    run(card.retention())
    assert card.picture(0) is None
    assert card.thumbnails.find(md5) is None


def test_a_card_that_cant_be_written_to_is_said_once_and_left(card, caplog):
    if os.geteuid() == 0:
        pytest.skip("root may remove any file")
    card.add(0).send()
    card.now += 31 * DAY
    card.path(0).parent.chmod(0o555)
    retention = card.retention()
    try:
        for _ in range(3):
            run(retention)
            assert retention.obstacle.endswith("can't be removed: permission denied; see the README on retention")
    finally:
        card.path(0).parent.chmod(0o755)
    assert card.left() == [0]
    assert caplog.text.count("permission denied") == 1
    run(retention)
    assert (card.left(), retention.obstacle) == ([], None)


def test_an_obstacle_is_over_once_room_was_made_by_hand(card):
    if os.geteuid() == 0:
        pytest.skip("root may remove any file")
    card.add(0).send()
    retention = card.retention(min_free=lambda size: 0 if is_freed else size)
    is_freed = False
    card.path(0).parent.chmod(0o555)
    try:
        run(retention)
        assert retention.obstacle is not None
        is_freed = True
        run(retention)
    finally:
        card.path(0).parent.chmod(0o755)
    assert (card.left(), retention.obstacle) == ([0], None)


def test_a_full_disk_on_which_nothing_may_go_is_an_alarm_said_once(card, caplog):
    card.add(0).take_in()
    retention = card.retention(min_free=EVERYTHING)
    for _ in range(3):
        run(retention)
    assert [record.levelname for record in caplog.records if "less than" in record.getMessage()] == ["ERROR"]
