import math
from types import SimpleNamespace

from sticky_pi_uploader.models import Fingerprint
from sticky_pi_uploader.upload.time_budget import MARGIN, TimeBudget


def pictures(*sizes):
    return [SimpleNamespace(fingerprint=Fingerprint(size, 0, 0)) for size in sizes]


class Link:
    """An budget, and the seconds that are left and have passed."""

    def __init__(self, left):
        self.left, self.now = left, 0.0
        self.budget = TimeBudget(lambda: self.left - self.now, monotonic=lambda: self.now)

    def send(self, *sizes, seconds):
        self.budget.begin()
        for picture in pictures(*sizes):
            self.budget.sent(picture)
        self.now += seconds
        self.budget.end()

    def fitting(self, *sizes):
        return self.budget.count_fitting(pictures(*sizes))


def test_without_a_deadline_everything_fits():
    link = Link(math.inf)
    assert link.fitting(1, 10**12) == 2
    link.send(1000, seconds=1000)
    assert link.fitting(1, 10**12) == 2


def test_one_goes_first_to_show_how_fast_the_link_is():
    link = Link(60)
    assert (link.fitting(10**9, 1), link.fitting()) == (1, 0)
    link.send(2_000_000, seconds=10)
    # 50 s for 10 s each, and a margin.
    assert link.fitting(*[2_000_000] * 20) == int(50 / (10 * MARGIN))
    link.send(2_000_000, 2_000_000, seconds=40)
    assert link.fitting(2_000_000) == 0
    assert link.fitting(500_000) == 1


def test_what_was_not_sent_says_nothing_of_the_link():
    link = Link(60)
    link.send(seconds=10)
    assert link.fitting(1, 1) == 1
    link.now = 61
    assert link.fitting(1, 1) == 0


def test_logging_in_is_no_part_of_what_a_picture_takes():
    link = Link(60)
    link.budget.begin()
    link.now += 30
    for _ in range(2):
        link.now += 1
        link.budget.sent(pictures(1_000_000)[0], 1.0)
    link.budget.end()
    assert link.fitting(*[1_000_000] * 40) == int(28 / MARGIN)
