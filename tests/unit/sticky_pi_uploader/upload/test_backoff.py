import itertools

import pytest
from sticky_pi_uploader.upload.backoff import FIRST_WAIT, LONGEST_WAIT, delay, is_due

NOW = 1_700_000_000.0


@pytest.mark.parametrize("failures", [-1, 0, 1, 2, 5, 9, 10, 100, 5000])
def test_a_wait_is_never_negative_nor_longer_than_its_bound(failures):
    bound = min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(20, max(0, failures - 1)))
    assert all(0 <= delay(failures) <= bound for _ in range(300))


def test_the_first_wait_is_at_most_five_seconds():
    assert max(delay(1) for _ in range(1000)) <= 5


def test_waits_grow_until_the_cap():
    longest = [max(delay(failures) for _ in range(300)) for failures in range(1, 12)]
    grown = [after / before for before, after in itertools.pairwise(longest[:8])]
    assert all(1.5 < growth < 2.6 for growth in grown)
    assert all(0.9 * LONGEST_WAIT < wait <= LONGEST_WAIT for wait in longest[9:])


def test_waits_are_spread_over_the_whole_range_so_that_traps_do_not_call_together():
    waits = [delay(5) / (FIRST_WAIT * 16) for _ in range(2000)]
    assert all(120 < sum(tenth / 10 <= wait < (tenth + 1) / 10 for wait in waits) < 290 for tenth in range(10))


@pytest.mark.parametrize("asked", [0.0, 0.5, 60.0, 899.0, 1800.0, 1e9])
@pytest.mark.parametrize("failures", [1, 12])
def test_what_the_server_asks_for_is_waited_up_to_the_cap_and_not_by_all_at_once(failures, asked):
    waits = [delay(failures, asked) for _ in range(4000)]
    assert all(min(asked, LONGEST_WAIT) <= wait <= LONGEST_WAIT for wait in waits)
    if asked < LONGEST_WAIT / 2:
        assert max(waits) - min(waits) > 0.9 * asked


@pytest.mark.parametrize("asked", [None, -5.0])
def test_a_server_that_asks_for_nothing_changes_nothing(asked):
    assert all(0 <= delay(1, asked) <= FIRST_WAIT for _ in range(300))


@pytest.mark.parametrize(
    ("at", "due"),
    [
        (None, True),
        (NOW, True),
        (NOW - 1, True),
        (0.0, True),
        (NOW + 0.001, False),
        (NOW + LONGEST_WAIT, False),
        (NOW + LONGEST_WAIT + 0.001, True),
        (NOW + 30 * 365 * 86400, True),
    ],
)
def test_a_wait_is_over_when_its_time_has_come_or_lies_further_ahead_than_any_wait_can(at, due):
    assert is_due(at, NOW) is due
