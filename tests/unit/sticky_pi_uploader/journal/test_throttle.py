"""Hours and days of trouble on a clock that only the tests move."""

import random

import pytest
from sticky_pi_uploader.journal.throttle import MOST, Repeats, Spell

HOUR = 3600.0
DAY = 24 * HOUR


class Day:
    """Trouble, and what is told of it."""

    def __init__(self):
        self.now = 0.0
        self.repeats = Repeats(lambda: self.now)
        self.told = []

    def again(self, reason, subject="here"):
        spell = self.repeats.again(subject, reason)
        if spell is not None:
            self.told.append((self.now, reason + str(spell)))
        return spell

    def most_in_an_hour(self):
        return max(sum(at <= other < at + HOUR for other, _ in self.told) for at, _ in self.told)


@pytest.fixture
def day():
    return Day()


@pytest.mark.parametrize("every", [1.0, 10.0, 600.0, 1800.0])
def test_the_same_trouble_is_told_once_an_hour_however_often_it_is_met(day, every):
    while day.now < DAY:
        day.again("no route")
        day.now += every
    assert [at for at, _ in day.told] == [HOUR * number for number in range(24)]
    assert day.told[0][1] == "no route"
    assert day.told[5][1] == f"no route ({int(5 * HOUR / every) + 1} times in 5.0 h)"


def test_another_reason_is_told_at_once_and_one_that_was_told_before_is_not(day):
    for reason in ["no route", "timed out", "no route", "timed out"]:
        day.again(reason)
        day.now += 60
    assert [text for _, text in day.told] == ["no route", "timed out (2 times in 1.0 min)"]


def test_reasons_and_subjects_without_end_are_a_handful_of_lines_an_hour(day):
    chance = random.Random(1)
    while day.now < DAY:
        day.again(f"port {chance.random()}", f"folder {chance.random()}")
        day.now += 10
    assert day.most_in_an_hour() == MOST
    assert len(day.told) == 24 * MOST


def test_trouble_that_comes_and_goes_is_a_handful_of_lines_an_hour(day):
    ends = 0
    while day.now < DAY:
        day.again("no route")
        day.now += 5
        ends += day.repeats.over("here") is not None
        day.now += 5
    assert day.most_in_an_hour() == MOST
    assert ends == len(day.told)


def test_its_end_is_told_with_how_long_it_lasted(day):
    day.again("no route")
    day.now += 600
    day.again("no route")
    day.now += 600
    assert day.repeats.over("here") == Spell(2, 1200.0)
    assert day.repeats.over("here") is None


def test_the_end_of_what_was_never_told_is_no_news(day):
    for number in range(MOST + 1):
        day.again("no route", str(number))
    assert str(MOST) in day.repeats
    assert day.repeats.over(str(MOST)) is None
    assert day.repeats.over("nothing") is None
    assert str(MOST) not in day.repeats


def test_after_its_end_the_next_trouble_begins_anew(day):
    day.again("no route")
    day.repeats.over("here")
    day.now += 60
    assert day.again("no route") == Spell(1, 0.0)


def test_others_with_the_same_trouble_are_counted(day):
    for subject in "abc":
        day.again("denied", subject)
    assert [text for _, text in day.told] == ["denied", "denied (as 1 other)", "denied (as 2 others)"]


def test_what_was_not_met_for_a_day_is_forgotten(day):
    for subject in range(1000):
        day.again("denied", str(subject))
    day.now += DAY
    assert day.again("denied", "new") == Spell(1, 0.0)
    assert "0" not in day.repeats
