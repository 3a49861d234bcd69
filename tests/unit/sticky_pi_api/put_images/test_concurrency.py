"""How many pictures are sent at a time, and the threads that send them."""

import threading

import pytest
from sticky_pi_api.put_images.concurrency import QUICK_UPLOAD, ConcurrencyLimit, Crashed, Sent, Settled, WorkerPool
from sticky_pi_api.types import ImageOutcome, Outcome


def test_one_goes_up_at_a_time_until_it_is_known_how_long_that_takes():
    assert ConcurrencyLimit(4).uploads == 1


@pytest.mark.parametrize(
    ("most", "seconds", "beside", "uploads"),
    [
        *((most, QUICK_UPLOAD, 0, uploads) for most, uploads in ((1, 1), (2, 1), (3, 1), (4, 2), (8, 4))),
        (4, 2 * QUICK_UPLOAD, 1, 2),
        (4, 2 * QUICK_UPLOAD, 0, 1),
    ],
)
def test_where_a_picture_has_the_link_for_a_moment_half_of_those_sent_use_it(most, seconds, beside, uploads):
    limit = ConcurrencyLimit(most)
    limit.measured(seconds, beside)
    assert limit.uploads == uploads


def test_workers_report_that_they_have_sent_that_they_have_settled_and_that_they_have_crashed():
    pool, may_end = WorkerPool(2), threading.Event()
    outcome, error = ImageOutcome("a.jpg", Outcome.STORED), KeyError("a bug")

    def send():
        pool.report_sent()
        assert may_end.wait(60)
        return outcome

    def crash():
        raise error

    pool.start(send)
    assert (pool.is_busy, pool.is_full, pool.uploading) == (True, False, 1)
    assert pool.next_event() == Sent("send-1")
    assert (pool.is_busy, pool.uploading) == (True, 0)
    pool.start(crash)
    assert pool.is_full
    assert pool.next_event() == Crashed("send-2", error)
    may_end.set()
    assert pool.next_event() == Settled("send-1", outcome)
    assert (pool.is_busy, pool.is_full, pool.uploading) == (False, False, 0)
