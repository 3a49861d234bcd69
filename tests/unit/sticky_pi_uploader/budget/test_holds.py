"""The hold of a session on a real outbox: it is recorded and logged when it changes, and at no other time."""

import logging
import time

import pytest
from sending_rig import Rig
from sticky_pi_uploader import config as config_module
from sticky_pi_uploader.budget.hold import IGNORED
from sticky_pi_uploader.budget.holds import Holds, hold_in_force
from sticky_pi_uploader.config.model import HoldConfig
from sticky_pi_uploader.models import HoldCause

DAY = 86400.0


class Trap:
    """An outbox on a clock that the test moves, with pictures that say what the battery has."""

    def __init__(self, folder, caplog):
        self.rig = Rig(folder)
        self.rig.now = 1_700_000_000.0 // DAY * DAY + 9 * 3600  # 09:00
        self.has_looked = True
        self._caplog = caplog
        self._config = config_module.load({"image_dir": str(folder)}, {}, default_file="/nonexistent")
        self._number = 0
        self.configure(hours=("10:00-16:00",), battery_below=30)

    def configure(self, **hold):
        self.config = self._config._replace(hold=HoldConfig(**hold), picture_interval=600)
        self.boot()

    def boot(self):
        self.rig.reboot()
        self.holds = Holds(self.config, self.rig.outbox, has_looked=lambda: self.has_looked, clock=lambda: self.rig.now)

    def picture(self, bat):
        """Take a picture now."""
        self._number += 1
        taken = self.rig.taken(self._number, self._number)
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.rig.now))
        self.rig.outbox.catalog.record([taken._replace(datetime=at, metadata={"bat": bat})])

    def look(self, hours=0.0):
        self.rig.now += hours * 3600
        return self.holds.look()

    @property
    def recorded(self):
        return self.rig.outbox.hold()

    def said(self):
        """Return the events since the last call."""
        events = [record.STICKY_PI_EVENT for record in self._caplog.records if hasattr(record, "STICKY_PI_EVENT")]
        self._caplog.clear()
        return events


@pytest.fixture
def trap(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    trap = Trap(tmp_path, caplog)
    yield trap
    trap.rig.close()


def test_a_hold_is_recorded_and_logged_at_its_beginning_and_its_end_alone(trap, caplog):
    assert (trap.look(), trap.recorded, trap.said()) == (False, None, [])
    changes = trap.rig.outbox.database.connection.total_changes
    assert trap.look(hours=1.5)
    assert trap.rig.outbox.database.connection.total_changes > changes
    assert trap.recorded == trap.holds.current
    assert caplog.messages == ["held until 16:00 UTC: nothing is sent in these hours ([hold] hours)"]
    assert trap.said() == ["hold"]
    changes = trap.rig.outbox.database.connection.total_changes
    for _ in range(10):
        assert trap.look(hours=0.5)
    assert (trap.rig.outbox.database.connection.total_changes, trap.said()) == (changes, [])
    assert not trap.look(hours=0.5)
    assert caplog.messages == ["the hold is over after 5.5 h: pictures are sent again"]
    assert (trap.said(), trap.recorded) == (["hold_over"], None)


def test_a_hold_outlasts_a_reboot_with_its_beginning_and_what_ends_it(trap):
    trap.picture(bat=25)
    assert trap.look()
    begun = trap.recorded.since
    trap.boot()
    trap.said()
    trap.rig.now += 600
    trap.picture(bat=38)
    assert trap.look()
    assert (trap.recorded.since, trap.said()) == (begun, [])
    trap.picture(bat=40)
    trap.rig.now += 1
    trap.picture(bat=40)
    assert (trap.look(), trap.said()) == (False, ["hold_over"])


def test_another_cause_is_news_and_the_same_hold(trap):
    trap.picture(bat=25)
    trap.look()
    begun = trap.recorded.since
    trap.rig.now += 1.5 * 3600
    trap.picture(bat=90)
    assert trap.look()
    assert (trap.recorded.cause, trap.recorded.since) == (HoldCause.HOURS, begun)
    assert trap.said() == ["hold", "hold"]


def test_a_battery_that_is_not_known_yet_ends_no_hold(trap):
    """After a night without power, the newest picture recorded is old, and the one on the card isn't taken in yet."""
    trap.picture(bat=25)
    assert trap.look()
    trap.has_looked = False
    trap.boot()
    assert trap.look(hours=10)
    assert trap.recorded.cause is HoldCause.BATTERY
    trap.picture(bat=35)
    assert trap.look()
    trap.rig.now += 3 * 3600
    trap.has_looked = True
    assert not trap.look()


def test_before_a_low_battery_was_seen_an_unknown_one_holds_nothing(trap):
    trap.has_looked = False
    assert not trap.look()


def test_hours_that_are_ignored_are_told_of_once_and_count_as_soon_as_the_clock_is_set(trap, caplog):
    trap.configure(hours=("00:00-24:00",))
    right, trap.rig.now = trap.rig.now, 946_684_800.0
    assert (trap.look(), trap.look(hours=1)) == (False, False)
    assert (caplog.messages, trap.said()) == ([IGNORED], ["hours_ignored"])
    assert trap.holds.problems() == [IGNORED]
    trap.rig.now = right
    assert (trap.look(), trap.said(), trap.holds.problems()) == (True, ["hold"], [])


def test_the_service_says_once_it_lasts_too_long(trap):
    trap.configure(hours=("00:00-24:00",))
    trap.look()
    assert trap.look(hours=71)
    assert trap.holds.problems() == []
    assert trap.look(hours=1)
    assert trap.holds.problems() == ["held for 3 days: nothing is sent in these hours ([hold] hours)"]


def test_a_command_finds_the_same_hold_and_records_nothing(trap):
    trap.picture(bat=25)
    assert hold_in_force(trap.config, trap.rig.outbox, trap.rig.now).cause is HoldCause.BATTERY
    assert trap.recorded is None
    trap.look()
    trap.rig.now += 600
    assert hold_in_force(trap.config, trap.rig.outbox, trap.rig.now) == trap.recorded


def test_without_a_rule_for_the_battery_no_picture_is_looked_for(trap):
    trap.configure(hours=("10:00-16:00",))
    asked = []
    trap.rig.outbox.database.connection.set_trace_callback(asked.append)
    try:
        trap.look()
    finally:
        trap.rig.outbox.database.connection.set_trace_callback(None)
    assert asked == []
