"""The order in which pictures are sent where they are to be an even sample, on the real queue.

`simulated` plays a trap for half a year: each picture is recorded, and claimed and confirmed where a budget that grows
steadily affords one. The bounds: no hole is longer than twice the span divided by the pictures sent, and no hour of the
day has less than 0.8 of the mean hour (0.6 where only 50 pictures are sent in a month, of which an hour gets 12).
"""

import random
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from sticky_pi_uploader.models import Fingerprint, State, Taken
from sticky_pi_uploader.outbox import Outbox
from sticky_pi_uploader.outbox.queue import NEWEST_EVERY
from sticky_pi_uploader.outbox.rank import rank

HERE = "https://here.example.org"
THERE = "https://there.example.org"
START = datetime(2024, 3, 1, 0, 7, 16, tzinfo=UTC)
DEVICE, OTHER = "1b74105a", "5c173ff2"
DAY = 86400
MONTH = 500 / 31
"""Pictures a day that 1 GB in 31 days affords, at 2 MB each"""


def stamp(moment):
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def taken(number, device=DEVICE, *, every=20):
    """Return the picture that a camera took `number` times `every` minutes after the start."""
    moment = START + timedelta(minutes=every * number)
    return Taken(
        f"{device}.{moment:%Y-%m-%d_%H-%M-%S}.jpg",
        Fingerprint(1000, 1, number + 1),
        device,
        device=device,
        datetime=stamp(moment),
        md5=f"{number:032x}",
        metadata={},
    )


def opened(path=":memory:", *, spread=True):
    outbox = Outbox(path, longest_wait=1800.0, clock=START.timestamp)
    outbox.destinations.change(HERE, lambda _: True)
    outbox.queue.set_order(spread=spread)
    return outbox


def sent(outbox, most):
    """Send up to `most` pictures in one batch; return their datetimes in the order in which they went."""
    claimed = outbox.queue.claim(most)
    for picture in claimed:
        assert outbox.queue.confirm(picture, picture.md5, "stored", accepted_by=HERE)
    return [(picture.device, picture.datetime) for picture in claimed]


def ranks(outbox, device):
    query = "SELECT datetime, rank FROM pictures WHERE device = ?"
    return dict(outbox.database.connection.execute(query, (device,)).fetchall())


def first(outbox, device, most):
    """Return the datetimes of the pictures with the lowest ranks."""
    by_rank = sorted(ranks(outbox, device).items(), key=lambda each: each[1])
    return [moment for moment, _ in by_rank[:most]]


# --- half a year -------------------------------------------------------------------------------------------------


def simulated(a_day, *, days=180, every=20, devices=(DEVICE,), open_at=lambda _: True, spread=True):
    """Yield, after each time that pictures could be sent, the day so far and each device's datetimes that were sent.

    The budget grows by `a_day` pictures a day, and at most a week's share of it is saved. Pictures are sent at those
    hours since the start for which `open_at` is true.
    """
    done, budget, coming = {device: [] for device in devices}, 0.0, []
    with opened(spread=spread) as outbox:
        for number in range(days * DAY // (every * 60)):
            coming += [taken(number, device, every=every) for device in devices]
            budget = min(budget + a_day * every * 60 / DAY, 7 * a_day)
            if budget < 1 or not open_at(number * every / 60):
                continue
            outbox.catalog.record(coming)
            coming.clear()
            while budget >= 1 and (went := sent(outbox, min(20, int(budget)))):
                budget -= len(went)
                for device, moment in went:
                    done[device].append(datetime.fromisoformat(moment))
            yield number * every / 60 / 24, done


def evenness(moments, day):
    """Return the longest hole in units of the span by the pictures, and the rarest hour in units of the mean hour."""
    edges = [START, *sorted(moments), START + timedelta(days=day)]
    mean = timedelta(days=day) / len(moments)
    hours = [sum(moment.hour == hour for moment in moments) for hour in range(24)]
    return max(b - a for a, b in pairwise(edges)) / mean, min(hours) * 24 / len(moments)


def once_a_day(hour):
    return hour % 24 == 9


def with_an_outage(hour):
    return not 40 * 24 < hour < 60 * 24


TRAPS = {
    "500 a month": (MONTH, {}, 0.8),
    "50 a month": (MONTH / 10, {}, 0.6),
    "500 a month, every 30 minutes": (MONTH, {"every": 30}, 0.8),
    "250 a month, each hour": (MONTH / 2, {"every": 60}, 0.8),
    "500 a month, sent once a day": (MONTH, {"open_at": once_a_day}, 0.8),
    "50 a month, sent once a day": (MONTH / 10, {"open_at": once_a_day}, 0.6),
    "500 a month, no network for 20 days": (MONTH, {"open_at": with_an_outage}, 0.8),
    "500 a month, of two cameras": (MONTH, {"devices": (DEVICE, OTHER)}, 0.8),
    "100 a month, of two cameras": (MONTH / 5, {"devices": (DEVICE, OTHER)}, 0.6),
}


@pytest.mark.parametrize("trap", TRAPS)
def test_pictures_that_were_sent_are_an_even_sample_of_days_and_hours(trap):
    a_day, options, least = TRAPS[trap]
    *_, (day, done) = simulated(a_day, **options)
    for moments in done.values():
        hole, rarest = evenness(moments, day)
        assert hole <= 2
        assert rarest >= least


def test_the_sample_is_as_even_at_every_moment():
    weeks = 0
    for day, done in simulated(MONTH):
        if day >= 7 * (weeks + 1):
            weeks += 1
            a_picture = len(done[DEVICE]) / (day * 72)
            hole, _ = evenness(done[DEVICE], day)
            assert hole <= 2 + a_picture
    assert weeks == 25


def test_the_newest_first_leaves_holes_and_hours_where_pictures_are_sent_once_a_day():
    *_, (day, done) = simulated(MONTH, open_at=once_a_day, spread=False)
    hole, rarest = evenness(done[DEVICE], day)
    assert hole > 10
    assert rarest < 0.6


# --- ranks -------------------------------------------------------------------------------------------------------


ORDERS = {
    "from the newest": lambda numbers: numbers[::-1],
    "by chance": lambda numbers: random.Random(1).sample(numbers, len(numbers)),
}


@pytest.mark.parametrize("order", ORDERS)
def test_ranks_are_the_same_in_whatever_order_pictures_are_taken_in(order):
    numbers = list(range(0, 1500, 3))
    with opened() as straight, opened() as other:
        straight.catalog.record([taken(number) for number in numbers])
        for number in ORDERS[order](numbers):
            other.catalog.record([taken(number, OTHER), taken(number)])
        assert ranks(other, DEVICE) == ranks(straight, DEVICE)
        assert len(set(ranks(straight, DEVICE).values())) > len(numbers) / 2


def test_a_rank_is_kept_whatever_happens_to_the_picture():
    with opened() as outbox:
        outbox.catalog.record([taken(number) for number in range(30)])
        before = ranks(outbox, DEVICE)
        first, second, third, *_ = outbox.queue.claim(20)
        outbox.queue.release(first)
        outbox.queue.refuse(second, "odd", not_before=0.0, charge=1)
        outbox.catalog.set_present(third.path, present=False)
        outbox.catalog.record([taken(5)._replace(md5="f" * 32)])
        assert ranks(outbox, DEVICE) == before


@pytest.mark.parametrize("every", [60, 300, 1200, 1800, 3600, 7 * 3600])
def test_each_prefix_of_the_order_is_even_at_any_interval_of_the_camera(every):
    stamps = [stamp(START + timedelta(seconds=number * every)) for number in range(30 * DAY // every)]
    order = sorted(zip(map(rank, [DEVICE] * len(stamps), stamps, [None, *stamps]), stamps, strict=False))
    for share in (0.05, 0.1, 0.2, 0.4, 0.8):
        chosen = [datetime.fromisoformat(each) for _, each in order[: int(share * len(order))]]
        if len(chosen) >= 15:
            hole, _ = evenness(chosen, 30)
            assert hole <= 1.6 + share


def test_two_cameras_show_other_moments():
    with opened() as outbox:
        outbox.catalog.record([taken(number, device) for number in range(720) for device in (DEVICE, OTHER)])
        assert len(set(first(outbox, DEVICE, 70)) & set(first(outbox, OTHER, 70))) < 20


def test_a_device_is_the_same_however_its_name_is_written():
    with opened() as upper, opened() as lower:
        for outbox, device in ((upper, DEVICE.upper()), (lower, DEVICE)):
            outbox.catalog.record([taken(number, device) for number in range(100)])
        assert ranks(upper, DEVICE) == ranks(lower, DEVICE)


# --- claims ------------------------------------------------------------------------------------------------------


def test_the_newest_goes_first_and_then_no_more_than_one_in_four_uploads_is_spent_on_the_newest():
    with opened() as outbox:
        outbox.catalog.record([taken(number) for number in range(3000)])
        went = []
        for most in (1, 3, 20, 7, 1, 1, 20, 20, 20, 7):
            went += sent(outbox, most)
        assert went[0] == (DEVICE, taken(2999).datetime)
        newest = [place for place, each in enumerate(went) if each[1] > taken(2900).datetime]
        assert newest[:3] == [0, NEWEST_EVERY, 2 * NEWEST_EVERY]
        assert len(went) / (NEWEST_EVERY + 1) <= len(newest) <= len(went) / 4


def test_a_picture_that_comes_is_the_next_one_that_an_upload_is_spent_on():
    with opened() as outbox:
        outbox.catalog.record([taken(number) for number in range(1000)])
        assert len(sent(outbox, NEWEST_EVERY)) == NEWEST_EVERY
        outbox.catalog.record([taken(1000)])
        assert sent(outbox, 1) == [(DEVICE, taken(1000).datetime)]


def test_every_picture_is_sent_in_the_end_and_no_key_twice_at_once():
    with opened() as outbox:
        outbox.catalog.record([taken(number, device) for number in range(40) for device in (DEVICE, OTHER)])
        outbox.catalog.record([taken(number)._replace(path=f"copy/{taken(number).path}") for number in range(40)])
        batches = []
        while batch := sent(outbox, 20):
            assert len(set(batch)) == len(batch)
            batches += batch
        assert len(batches) == 120
        assert len(set(batches)) == 80


def test_in_trouble_the_one_that_is_tried_is_the_next_in_order():
    with opened() as outbox:
        outbox.catalog.record([taken(number) for number in range(300)])
        (newest,) = outbox.queue.claim_canary()
        assert newest.datetime == taken(299).datetime
        outbox.queue.confirm(newest, newest.md5, "stored", accepted_by=HERE)
        (next_one,) = outbox.queue.claim_canary()
        outbox.queue.release(next_one)
        assert outbox.queue.claim(1)[0].path == next_one.path
        assert next_one.datetime != taken(298).datetime


def test_a_claim_reads_no_more_than_it_claims_however_many_pictures_wait():
    with opened() as outbox:
        outbox.catalog.record([taken(number) for number in range(100)])
        asked = []
        outbox.database.connection.set_trace_callback(asked.append)
        assert len(outbox.queue.claim(20)) == 20
        outbox.database.connection.set_trace_callback(None)
        (choice,) = [each for each in asked if "ORDER BY rank" in each]
        plan = [row["detail"] for row in outbox.database.rows(f"EXPLAIN QUERY PLAN {choice}")]
        assert plan == ["SCAN pictures USING INDEX pictures_by_rank"]


# --- the order of an outbox changes ------------------------------------------------------------------------------


def indices(path):
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute("SELECT name FROM sqlite_master WHERE name LIKE 'pictures_by_rank'")
        return [name for (name,) in found]


def test_only_a_spread_has_an_index_of_ranks_and_what_was_taken_in_before_is_in_it(tmp_path):
    path = str(tmp_path / "outbox.db")
    with opened(path, spread=False) as outbox:
        outbox.catalog.record([taken(number) for number in range(1000)])
        assert indices(path) == []
    with opened(path) as outbox:
        assert indices(path) == ["pictures_by_rank"]
        assert [picture.datetime for picture in outbox.queue.claim(6)][1:] == first(outbox, DEVICE, 5)
    with opened(path, spread=False):
        assert indices(path) == []


@pytest.mark.parametrize("spread", [True, False])
def test_an_order_that_stays_writes_nothing(tmp_path, spread):
    path = str(tmp_path / "outbox.db")
    opened(path, spread=spread).close()
    with opened(path, spread=spread) as outbox:
        before = outbox.database.connection.total_changes
        size = (tmp_path / "outbox.db-wal").stat().st_size
        outbox.queue.set_order(spread=spread)
        assert (tmp_path / "outbox.db-wal").stat().st_size == size
        assert outbox.database.connection.total_changes == before


def test_pictures_without_a_rank_are_sent_too_and_another_destination_gets_an_even_sample():
    with opened() as outbox:
        outbox.catalog.record([taken(number) for number in range(200)])
        expected = ranks(outbox, DEVICE)
        while sent(outbox, 20):
            pass
        outbox.database.connection.execute("UPDATE pictures SET rank = NULL")  # as an earlier release left them
        assert outbox.retention.unconfirm(outbox.at(taken(3).path), "gone")
        outbox.catalog.record([taken(3)])
        assert sent(outbox, 20) == [(DEVICE, taken(3).datetime)]
        assert outbox.destinations.change(THERE, lambda _: True) == 200
        assert ranks(outbox, DEVICE) == expected
        assert outbox.counts()[State.PENDING] == 200
