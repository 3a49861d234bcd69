"""The rate that all uploads share, by a clock that the test moves."""

import threading
import time
from random import Random

import pytest
from sticky_pi_api.transport.rate_limit import LARGEST_BLOCK, RateLimit


@pytest.mark.parametrize("rate", [1000, 3333, 50_000, 700_000, 10_000_000])
def test_no_ten_seconds_have_more_than_the_rate_allows(clock, rate):
    limit = RateLimit(rate, clock=clock, sleep=clock.sleep)
    random = Random(rate)
    sent = []
    while clock.now < 1060:
        size = random.choice([limit.block, limit.block, random.randint(1, limit.block)])
        limit.wait(size)
        sent.append((clock.now, size))
        if random.random() < 0.01:
            clock.now += random.uniform(0, 15)
    starts = [start for start, _ in sent]
    assert (
        max(sum(size for at, size in sent if start <= at < start + 10) for start in starts[:: len(starts) // 200 + 1])
        <= 10 * rate
    )


@pytest.mark.parametrize("rate", [1000, 50_000, 10_000_000])
def test_the_rate_is_nearly_used_up(clock, rate):
    limit = RateLimit(rate, clock=clock, sleep=clock.sleep)
    sent = 0
    while clock.now < 1030:
        limit.wait(limit.block)
        sent += limit.block
    assert sent >= 0.85 * 30 * rate


def test_without_a_limit_nobody_waits(clock):
    limit = RateLimit(None, clock=clock, sleep=clock.sleep)
    for _ in range(100):
        limit.wait(LARGEST_BLOCK)
    assert clock.now == 1000.0


def test_threads_share_one_rate():
    limit = RateLimit(200_000)
    began = time.monotonic()
    threads = [threading.Thread(target=lambda: [limit.wait(limit.block) for _ in range(2)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Eight blocks of a tenth of a second, of which the first goes at once.
    assert time.monotonic() - began >= 0.7


def test_a_rate_that_no_picture_gets_through_is_refused():
    with pytest.raises(ValueError, match="at least 1000"):
        RateLimit(999)
