"""The decision alone: when nothing is sent, and until when, by the clock, the battery and the last decision."""

import calendar
import time

import pytest
from sticky_pi_uploader.budget.hold import GAIN, IGNORED, LONG, LOOK_EVERY, clock_is_set, decide, next_look, problems
from sticky_pi_uploader.config.model import HoldConfig
from sticky_pi_uploader.models import Hold, HoldCause

DAY = 86400.0
MIDNIGHT = float(calendar.timegm((2024, 3, 31, 0, 0, 0)))
"""Of a day on which clocks in Europe are set forward by an hour: by UTC it is as long as any other"""
BATTERY, HOURS = HoldCause.BATTERY, HoldCause.HOURS


def at(text, day=0):
    """Return the Unix time of HH:MM or HH:MM:SS on the day."""
    hours, minutes, *seconds = map(float, text.split(":"))
    return MIDNIGHT + day * DAY + hours * 3600 + minutes * 60 + sum(seconds)


def by_hours(hours, now, previous=None):
    return decide(HoldConfig(hours=tuple(hours)), now, None, previous, clock_is_set=True)


def by_battery(battery, previous=None, below=30, now=MIDNIGHT):
    return decide(HoldConfig(battery_below=below), now, battery, previous, clock_is_set=True)


def low(since=MIDNIGHT - 60):
    return Hold(BATTERY, "low", since, None)


@pytest.mark.parametrize(
    ("hours", "now", "until"),
    [
        (["10:00-16:00"], at("09:59:59.9"), None),
        (["10:00-16:00"], at("10:00"), at("16:00")),
        (["10:00-16:00"], at("12:34:56.7"), at("16:00")),
        (["10:00-16:00"], at("15:59:59.9"), at("16:00")),
        (["10:00-16:00"], at("16:00"), None),
        (["10:00-16:00"], at("00:00"), None),
        (["22:00-04:00"], at("21:59:59"), None),
        (["22:00-04:00"], at("22:00"), at("04:00", day=1)),
        (["22:00-04:00"], at("23:59:59"), at("04:00", day=1)),
        (["22:00-04:00"], at("00:00"), at("04:00")),
        (["22:00-04:00"], at("03:59"), at("04:00")),
        (["22:00-04:00"], at("04:00"), None),
        (["20:00-24:00"], at("23:59:59"), at("00:00", day=1)),
        (["20:00-24:00"], at("00:00"), None),
        (["20:00-00:00"], at("23:59:59"), at("00:00", day=1)),
        (["00:00-00:01"], at("00:00:59"), at("00:01")),
        (["06:00-08:00", "18:00-20:00"], at("07:00"), at("08:00")),
        (["06:00-08:00", "18:00-20:00"], at("12:00"), None),
        (["06:00-08:00", "18:00-20:00"], at("19:00"), at("20:00")),
        (["06:00-08:00", "07:00-10:00"], at("06:30"), at("10:00")),
        (["07:00-10:00", "06:00-12:00"], at("08:00"), at("12:00")),
        (["06:00-08:00", "08:00-10:00"], at("06:00"), at("10:00")),
        (["20:00-24:00", "00:00-04:00"], at("21:00"), at("04:00", day=1)),
    ],
)
def test_in_the_hours_of_the_day_nothing_is_sent_until_they_end(hours, now, until):
    hold = by_hours(hours, now)
    assert (hold and hold.until) == until
    assert hold is None or (hold.cause, hold.since) == (HOURS, now)


@pytest.mark.parametrize("hours", [["00:00-24:00"], ["00:00-12:00", "12:00-00:00"], ["06:00-05:00", "04:00-07:00"]])
@pytest.mark.parametrize("now", ["00:00", "04:30", "11:59:59", "23:59:59"])
def test_hours_around_the_clock_have_no_end(hours, now):
    hold = by_hours(hours, at(now))
    assert (hold.cause, hold.until) == (HOURS, None)
    assert next_look(HoldConfig(hours=tuple(hours)), at(now), hold) is None


def test_each_minute_of_a_day_is_decided_as_the_hours_say():
    held = [minute for minute in range(1440) if by_hours(["10:00-16:00", "22:30-01:15"], MIDNIGHT + 60 * minute)]
    assert held == [*range(75), *range(600, 960), *range(1350, 1440)]


def test_the_hours_are_ignored_while_the_clock_is_not_set():
    rules, now = HoldConfig(hours=("00:00-24:00",)), 946_684_800.0
    assert decide(rules, now, None, None, clock_is_set=clock_is_set(now)) is None
    assert [what for what, _ in problems(rules, None, now)] == [IGNORED]
    assert list(problems(rules, None, MIDNIGHT)) == []
    assert list(problems(HoldConfig(battery_below=30), None, now)) == []


@pytest.mark.parametrize(
    ("below", "battery", "was_low", "is_held"),
    [
        (30, 31, False, False),
        (30, 30, False, False),
        (30, 29.9, False, True),
        (30, 0, False, True),
        (30, 29, True, True),
        (30, 30, True, True),
        (30, 39.9, True, True),
        (30, 40, True, False),
        (30, 100, True, False),
        (30, None, False, False),
        (30, None, True, False),
        (95, 99.5, True, True),
        (95, 100, True, False),
        (100, 99, False, True),
        (100, 100, False, False),
        (100, 100, True, False),
        (None, 0, False, False),
        (None, 0, True, False),
    ],
)
def test_a_low_battery_holds_until_it_has_ten_points_more(below, battery, was_low, is_held):
    assert (by_battery(battery, low() if was_low else None, below) is not None) == is_held


def test_a_hold_by_the_hours_is_no_low_battery():
    rules = HoldConfig(("10:00-16:00",), 30)
    before = by_hours(["10:00-16:00"], at("12:00"))
    assert decide(rules, at("13:00"), 35, before, clock_is_set=True).cause is HOURS
    assert decide(rules, at("13:00"), 25, before, clock_is_set=True).cause is BATTERY


def test_what_a_battery_must_reach_is_said():
    assert f"{30 + GAIN} %" in by_battery(20).reason
    assert "100 %" in by_battery(20, below=95).reason


def test_a_hold_that_goes_on_for_another_cause_keeps_its_beginning():
    rules, begun = HoldConfig(("10:00-16:00",), 30), at("09:00")
    first = decide(rules, begun, 20, None, clock_is_set=True)
    second = decide(rules, at("12:00"), 60, first, clock_is_set=True)
    third = decide(rules, at("15:00"), 20, second, clock_is_set=True)
    assert [(each.cause, each.since) for each in (first, second, third)] == [
        (BATTERY, begun),
        (HOURS, begun),
        (BATTERY, begun),
    ]


def test_each_days_hours_are_a_hold_of_their_own():
    today = by_hours(["10:00-16:00"], at("12:00"))
    assert by_hours(["10:00-16:00"], at("15:00"), today) == today
    tomorrow = by_hours(["10:00-16:00"], at("10:30", day=1), today)
    assert (tomorrow.since, tomorrow.until) == (at("10:30", day=1), at("16:00", day=1))


@pytest.mark.parametrize("since", [MIDNIGHT + 1, 946_684_800.0], ids=["in the future", "of a clock that wasn't set"])
def test_a_beginning_that_cannot_be_is_forgotten(since):
    assert by_battery(35, low(since)) == by_battery(25)._replace(since=MIDNIGHT)


def test_a_hold_of_a_clock_that_is_still_not_set_keeps_its_beginning():
    assert by_battery(35, low(1000.0), now=2000.0).since == 1000.0


def test_a_hold_that_lasts_three_days_is_trouble():
    rules, hold = HoldConfig(battery_below=30), by_battery(20)
    assert list(problems(rules, hold, MIDNIGHT + LONG - 1)) == []
    ((what, advice),) = problems(rules, hold, MIDNIGHT + LONG)
    assert what.startswith("held for 3 days: the battery ")
    assert "retry --all" in advice
    assert LONG == 3 * DAY


def test_the_next_look_is_due_when_the_hours_begin_or_end_and_now_and_then_while_the_battery_is_low():
    hours = HoldConfig(hours=("10:00-16:00", "22:00-04:00"))
    assert next_look(hours, at("09:00"), None) == 3600
    assert next_look(hours, at("16:30"), None) == 5.5 * 3600
    assert next_look(hours, at("15:00"), by_hours(hours.hours, at("15:00"))) == 3600
    assert next_look(hours, at("16:00:01"), by_hours(hours.hours, at("15:00"))) == 0
    assert next_look(HoldConfig(battery_below=30), MIDNIGHT, low()) == LOOK_EVERY
    assert next_look(HoldConfig(battery_below=30), MIDNIGHT, None) is None


def test_the_time_zone_of_the_process_changes_nothing(monkeypatch):
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    time.tzset()
    try:
        assert by_hours(["10:00-16:00"], at("12:00")).until == at("16:00")
        assert by_hours(["10:00-16:00"], at("23:00")) is None
    finally:
        monkeypatch.undo()
        time.tzset()
