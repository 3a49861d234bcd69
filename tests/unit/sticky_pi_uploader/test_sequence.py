import pytest
from sticky_pi_uploader.sequence import ENDED, Gap, gaps, learn_interval

MINUTES = 60.0


def every(minutes, count, begins=0.0):
    return [begins + number * minutes * MINUTES for number in range(count)]


def test_the_interval_is_that_of_most_pictures_whatever_gaps_and_extra_pictures_there_are():
    times = sorted([*every(20, 10), *every(20, 10, begins=86_400.0), 30.0, 86_403.0])
    assert learn_interval(times) == 20 * MINUTES


@pytest.mark.parametrize("times", [[], [0.0], [0.0, 1200.0], [0.0, 0.5, 1.0]])
def test_too_few_pictures_tell_no_interval(times):
    assert learn_interval(times) is None


def test_a_regular_sequence_has_no_gap_though_its_camera_is_some_seconds_late():
    assert gaps([0.0, 1205.0, 2390.0, 3610.0], 1200.0, 4000.0) == []


def test_a_gap_says_when_it_was_and_how_many_pictures_are_missing():
    times = [*every(20, 3), *every(20, 3, begins=4 * 3600.0)]
    assert gaps(times, 1200.0, times[-1]) == [Gap(2400.0, 14_400.0, 9)]


def test_a_camera_that_stopped_has_a_gap_that_is_still_open():
    assert gaps(every(20, 3), 1200.0, 2400.0 + 6 * 1200.0) == [Gap(2400.0, None, 5)]


def test_a_clock_behind_the_last_picture_shows_no_gap():
    assert gaps(every(20, 3), 1200.0, 0.0) == []


def test_no_pictures_have_no_gaps():
    assert gaps([], 1200.0, 1e9) == []


@pytest.mark.parametrize("interval", [1200.0, None])
def test_after_weeks_of_silence_nothing_was_expected_whether_it_goes_on_later_or_not(interval):
    times = [0.0, ENDED]
    assert gaps(times, interval, times[-1] + 2 * ENDED) == [Gap(0.0, ENDED, None), Gap(ENDED, None, None)]


def test_without_an_interval_shorter_gaps_are_not_known():
    assert gaps([0.0, ENDED - 1], None, ENDED) == []


@pytest.mark.parametrize("days", [7, 20, 366])
def test_a_camera_of_long_intervals_has_not_ended_while_fewer_than_three_have_passed(days):
    interval = days * 86_400.0
    times = [0.0, interval, 3 * interval]
    assert gaps(times, interval, 4 * interval) == [Gap(interval, 3 * interval, 1)]
    assert gaps(times, interval, 6 * interval) == [Gap(interval, 3 * interval, 1), Gap(3 * interval, None, None)]
