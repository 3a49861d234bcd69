"""Maintenance of a real state folder: what an earlier outbox knew, a look at the whole of it, and what nobody knows."""

import os
import sqlite3

import pytest
from sticky_pi_uploader.exceptions import OutboxDamagedError
from sticky_pi_uploader.models import Fingerprint, State, Taken
from sticky_pi_uploader.outbox import Outbox, open_or_rebuild, outbox_path
from sticky_pi_uploader.service import maintenance as module
from sticky_pi_uploader.service.maintenance import ASIDE_KEPT, DAY, INSPECTED_EVERY, INTERVAL, Maintenance
from sticky_pi_uploader.state_dir.thumbnails import ThumbnailFolder, Thumbnails

NOW = 1_700_000_000.0
HERE = "file:///here"


class House:
    """A state folder, and an image folder with what a test puts there."""

    def __init__(self, folder):
        self.images, self.state, self.now = folder / "pictures", folder / "state", NOW
        self.images.mkdir()
        self.state.mkdir()
        self.path = outbox_path(str(self.state))
        self.thumbnails = ThumbnailFolder(str(self.state / "thumbnails"))
        self.outbox = None

    def open(self):
        """Open the outbox as a session does."""
        self.close()
        self.outbox, aside = open_or_rebuild(self.path, longest_wait=1800)
        self.outbox.database.clock = lambda: self.now
        self.outbox.destinations.change(HERE, lambda _: True)
        return aside

    def close(self):
        if self.outbox is not None:
            self.outbox.close()

    def upkeep(self):
        return Maintenance(
            self.outbox.recovery,
            self.outbox.retention,
            self.thumbnails,
            image_dir=str(self.images),
            state_dir=str(self.state),
            keep_record_days=400,
            clock=lambda: self.now,
        )

    def finish(self, upkeep=None):
        """Step until nothing is left to do."""
        upkeep = upkeep or self.upkeep()
        while (wait := upkeep.step()) == 0:
            pass
        return wait

    def add(self, number, *, here=True):
        """Record a picture; its file is on the card only if it is `here`."""
        name = f"1b74105a.2020-07-{number:02}_10-07-16.jpg"
        if here:
            (self.images / name).write_text("a picture")
        stamp = f"2020-07-{number:02}T10:07:16Z"
        taken = Taken(name, Fingerprint(9, 1, 7), "disk", "1b74105a", stamp, f"{number:032x}", metadata={"temp": 20.5})
        self.outbox.catalog.record([taken])
        return name

    def send(self, name):
        claimed = self.outbox.queue.claim(9)
        for picture in claimed:
            if picture.path == name:
                self.outbox.queue.confirm(picture, picture.md5, "stored")
            else:
                self.outbox.queue.release(picture)

    def damage(self):
        """Make its first page none, as a bad card does."""
        self.close()
        with open(self.path, "r+b") as file:
            file.write(b"\xa5" * 16)


@pytest.fixture
def house(tmp_path):
    house = House(tmp_path)
    house.open()
    yield house
    house.close()


def put_aside(house):
    """Replace the outbox by a new one, as where its header alone was damaged; the rest can be read."""
    house.outbox.database.connection.execute("PRAGMA user_version = 99")
    aside = house.open()
    assert aside is not None
    return aside.path


def test_what_was_removed_or_lost_is_carried_over_with_its_history(house):
    removed, lost, here = house.add(1), house.add(2, here=False), house.add(3)
    house.send(removed)
    house.outbox.retention.mark_removed(house.outbox.at(removed), "removed from the card")
    (house.images / removed).unlink()
    house.outbox.catalog.lose(house.outbox.at(lost))
    before = [house.outbox.at(name) for name in (removed, lost)]
    histories = [house.outbox.history(picture) for picture in before]
    aside = put_aside(house)
    house.finish()
    assert house.outbox.at(here) is None
    for was, history in zip(before, histories, strict=True):
        now = house.outbox.at(was.path)
        # It counts as present until the next scan, which misses its file.
        expected = was._replace(not_before=now.not_before, present=True)
        assert now._replace(id=was.id, fingerprint=was.fingerprint) == expected
        *told, carried = house.outbox.history(now)
        assert told == history
        assert carried.why == f"carried over from {os.path.basename(aside)}, as it isn't on the card"


def test_what_was_to_be_sent_and_is_gone_is_carried_over_so_that_its_loss_is_told(house):
    gone, sending = house.add(1, here=False), house.add(2, here=False)
    (claimed,) = house.outbox.queue.claim(1)
    assert claimed.path == sending
    put_aside(house)
    house.finish()
    assert [house.outbox.at(name).state for name in (gone, sending)] == [State.PENDING] * 2
    assert house.outbox.catalog.folders_to_check() == {""}


def test_it_is_carried_over_once_and_what_is_recorded_by_then_stays(house):
    first, second = house.add(1, here=False), house.add(2, here=False)
    put_aside(house)
    house.add(1)
    house.finish()
    known = house.outbox.at(first)
    assert len(house.outbox.history(known)) == 1
    house.outbox.database.connection.execute("DELETE FROM pictures WHERE name = ?", (second,))
    house.finish(house.upkeep())
    assert house.outbox.at(second) is None


def test_a_power_cut_while_it_is_carried_over_leaves_the_rest_to_the_next_start(house, monkeypatch):
    monkeypatch.setattr(module, "BATCH", 4)
    names = [house.add(number, here=False) for number in range(1, 10)]
    put_aside(house)
    assert house.upkeep().step() == 0
    assert sum(house.outbox.counts().values()) == 4
    house.open()
    house.finish()
    assert [house.outbox.at(name) is not None for name in names] == [True] * 9
    assert all(len(house.outbox.history(picture)) == 2 for picture in house.outbox.pictures())


def test_rows_that_are_damaged_are_passed_over_and_no_picture_is_made_up(house):
    sound, state, other_name, receipt = (house.add(number, here=False) for number in range(1, 5))
    for name in (sound, state, receipt):
        house.send(name)
    connection = house.outbox.database.connection
    connection.execute("PRAGMA ignore_check_constraints = ON")
    connection.execute("UPDATE pictures SET state = 'sent' WHERE name = ?", (state,))
    connection.execute("UPDATE pictures SET name = replace(name, '1b', '2b') WHERE name = ?", (other_name,))
    connection.execute("UPDATE pictures SET receipt_md5 = 'f' WHERE name = ?", (receipt,))
    put_aside(house)
    house.finish()
    assert [picture.path for picture in house.outbox.pictures()] == [sound]


def test_what_was_no_trap_picture_is_carried_over_only_where_it_was_rejected(house):
    fingerprint = Fingerprint(9, 1, 8)
    house.outbox.catalog.record(
        [Taken(name, fingerprint, "disk", rejected="the trap's clock wasn't set") for name in ("a.jpg", "b.jpg")]
    )
    house.outbox.catalog.lose(house.outbox.at("b.jpg"))
    sound, renamed = house.add(1, here=False), house.add(2, here=False)
    house.outbox.database.connection.execute("UPDATE pictures SET name = 'c.jpg' WHERE name = ?", (renamed,))
    put_aside(house)
    house.finish()
    found = {picture.path: picture.state for picture in house.outbox.pictures()}
    assert found == {"a.jpg": State.REJECTED, "b.jpg": State.LOST, sound: State.PENDING}


def test_an_outbox_of_which_nothing_can_be_read_holds_nothing_up(house):
    house.add(1)
    house.close()
    with open(house.path, "wb") as file:
        file.write(b"\xa5" * 100_000)
    assert house.open() is not None
    assert house.finish() == INTERVAL
    assert sum(house.outbox.counts().values()) == 0


def test_what_is_carried_over_is_told_once(house, caplog):
    house.add(1, here=False)
    aside = put_aside(house)
    house.finish()
    house.finish(house.upkeep())
    assert [record.getMessage() for record in caplog.records] == [
        f"1 picture that isn't on the card was carried over from {aside}"
    ]


def spoil(house):
    """Damage what nobody looks at: a row's own rules."""
    house.add(1)
    house.send("1b74105a.2020-07-01_10-07-16.jpg")
    house.outbox.database.connection.execute("PRAGMA ignore_check_constraints = ON")
    house.outbox.database.connection.execute("UPDATE pictures SET receipt_md5 = 'b'")
    house.outbox.database.connection.execute("PRAGMA ignore_check_constraints = OFF")


def test_the_whole_outbox_is_looked_at_once_a_week(house):
    upkeep = house.upkeep()
    assert upkeep.step() == INTERVAL
    spoil(house)
    house.now += INSPECTED_EVERY - 1
    assert upkeep.step() == INTERVAL
    house.now += 1
    with pytest.raises(OutboxDamagedError, match="CHECK constraint failed in pictures"):
        upkeep.step()


def test_it_is_looked_at_again_once_another_process_wrote_to_it_even_during_a_look(house, monkeypatch):
    upkeep, older_than = house.upkeep(), house.thumbnails.older_than

    def written_to_meanwhile(before):
        spoil(house)
        upkeep.inspect_soon()
        return older_than(before)

    monkeypatch.setattr(house.thumbnails, "older_than", written_to_meanwhile)
    assert upkeep.step() == INTERVAL
    with pytest.raises(OutboxDamagedError, match="CHECK constraint failed in pictures"):
        upkeep.step()


def test_it_is_looked_at_again_after_a_restart_only_when_a_week_is_over(house):
    house.finish()
    spoil(house)
    house.open()
    assert house.upkeep().step() == INTERVAL
    house.now += INSPECTED_EVERY
    with pytest.raises(OutboxDamagedError):
        house.upkeep().step()


def test_a_clock_that_was_set_back_does_not_put_that_off_for_years(house):
    house.finish()
    spoil(house)
    house.now -= 20 * 365 * DAY
    with pytest.raises(OutboxDamagedError):
        house.upkeep().step()


def test_it_is_looked_at_where_the_last_process_broke_off(house, tmp_path):
    house.finish()
    spoil(house)
    # As a power cut leaves it: with its log.
    left = tmp_path / "left"
    left.mkdir()
    for suffix in ("", "-wal"):
        (left / f"outbox.db{suffix}").write_bytes((house.state / f"outbox.db{suffix}").read_bytes())
    house.close()
    house.state, house.path = left, outbox_path(str(left))
    house.open()
    with pytest.raises(OutboxDamagedError):
        house.upkeep().step()


def test_a_value_that_breaks_no_rule_and_cannot_be_is_found(house):
    house.add(1)
    house.outbox.database.connection.execute("UPDATE history SET at = 'x'")
    with pytest.raises(OutboxDamagedError, match="at can't be 'x'"):
        house.upkeep().step()


def test_looking_at_it_ends_none_of_the_locks_that_this_process_holds_on_it(house):
    """Else another process that closes the outbox would take the log away from this one."""
    house.finish()
    house.add(1)
    with Outbox(house.path, longest_wait=1800) as other:
        other.database.connection.execute("UPDATE pictures SET reason = 'seen'")
    house.add(2)
    connection = sqlite3.connect(house.path)
    assert connection.execute("SELECT count(*) FROM pictures").fetchone() == (2,)
    connection.close()
    assert os.path.exists(house.path + "-wal")


def keep_thumbnails(house, md5, *, days_ago):
    house.thumbnails.keep(md5, Thumbnails(b"\xff\xd8 large \xff\xd9", b"\xff\xd8 mini \xff\xd9"))
    for file in (house.state / "thumbnails" / md5[:2]).glob(f"{md5}*"):
        os.utime(file, (NOW - days_ago * DAY,) * 2)


def test_thumbnails_of_which_nothing_is_known_go_when_a_record_would(house):
    known, forgotten, lately = f"{1:032x}", "f" * 32, "e" * 32
    house.add(1)
    keep_thumbnails(house, known, days_ago=500)
    keep_thumbnails(house, forgotten, days_ago=401)
    keep_thumbnails(house, lately, days_ago=399)
    house.finish()
    assert [house.thumbnails.find(md5) is not None for md5 in (known, forgotten, lately)] == [True, False, True]
    assert not list((house.state / "thumbnails" / "ff").iterdir())


def test_of_the_outboxes_that_were_put_aside_the_last_ten_stay(house):
    """Each may have grown for years, and a failing card damages one after the other."""
    put = []
    for number in range(ASIDE_KEPT + 3):
        house.add(1)
        put.append(put_aside(house))
        # Newer ones and damaged ones are one row of them; a log may have been left beside.
        stamp, label = f"202011{number:02}T101500Z", ("damaged", "newer")[number % 2]
        os.rename(put[-1], f"{house.path}.{label}-{stamp}")
        put[-1] = f"{house.path}.{label}-{stamp}"
        with open(f"{put[-1]}-wal", "w", encoding="ascii") as file:
            file.write("a log")
    house.finish()
    found = {name.removesuffix("-wal").removesuffix("-shm") for name in os.listdir(house.state) if "-2020" in name}
    assert found == {os.path.basename(path) for path in put[3:]}


def test_one_that_was_put_aside_stays_until_all_of_it_is_carried_over(house, monkeypatch):
    gone = house.add(1, here=False)
    put_aside(house)
    monkeypatch.setattr(module, "ASIDE_KEPT", 0)
    with monkeypatch.context() as patch:
        patch.setattr(Maintenance, "_carry_over", lambda _: False)
        house.finish()
    assert house.outbox.at(gone) is None
    house.now += INSPECTED_EVERY + 1
    house.finish()
    assert house.outbox.at(gone) is not None
    house.now += INSPECTED_EVERY + 1
    house.finish()
    assert not [name for name in os.listdir(house.state) if ".newer-" in name]
