"""Days and months of trouble on a clock that only the tests move: the real uploader, judge, outbox and retry.

Only the client is a stand-in: a server in a few lines, which takes its time. `-s` shows the figures.
"""

import heapq
import logging
import os
import random
import re
import tempfile
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from sending_rig import STARTED, THUMBNAILS, Rig, md5, name
from sticky_pi_api.exceptions import RefusedError, UnreachableError
from sticky_pi_api.types import ImageOutcome, Outcome
from sticky_pi_uploader.journal.events import Kind
from sticky_pi_uploader.models import DestinationState, Fingerprint, State, Taken
from sticky_pi_uploader.outbox import Outbox
from sticky_pi_uploader.scan_requests import ScanRequests
from sticky_pi_uploader.state_dir.thumbnails import ThumbnailFolder
from sticky_pi_uploader.upload.backoff import LONGEST_WAIT
from sticky_pi_uploader.upload.uploader import Uploader

HOUR = 3600.0
DAY = 24 * HOUR
URL = "file:///server"
"""Not https: for each batch that goes there the uploader starts a thread, which would take most of the time."""

EVERY = 1200.0
"""Seconds from one picture to the next"""


class Server:
    """Asks and uploads cost it time on the tests' clock; its faults are switched on and off."""

    ASKING, UPLOADING = 0.4, 2.0

    def __init__(self):
        self.rig = None
        self.is_down = self.is_full = False
        self.bad = set()
        self.stored_at = {}
        self.tries = []

    def open(self):
        return self

    def close(self):
        pass

    def put_images(self, files, *, on_outcome):
        self.rig.now += self.ASKING
        if self.is_down:
            self.tries.append(self.rig.now)
        for file in files:
            on_outcome(self.outcome(file))

    def outcome(self, file):
        if self.is_down:
            return ImageOutcome(file.path, Outcome.UNSENT, None, UnreachableError("no route"))
        self.rig.now += self.UPLOADING
        if self.is_full or file.filename in self.bad:
            self.tries.append(self.rig.now)
            return ImageOutcome(file.path, Outcome.REFUSED, None, RefusedError("status 500"))
        self.stored_at[file.filename] = self.rig.now
        return ImageOutcome(file.path, Outcome.STORED, {"md5": file["md5"]})


class Trap(Rig):
    """A trap that takes a picture every 20 minutes, and sends whenever the uploader wants to."""

    def __init__(self, folder):
        super().__init__(folder, Server(), url=URL)
        self.server = self.client
        self.server.rig = self
        self.taken_at = {}
        self.next_picture = self.now + EVERY
        self.uploader = self.make(give_up_after=5)

    def add(self, *numbers):
        super().add(*numbers)
        self.taken_at |= {name(number): self.now for number in numbers}

    def run(self, seconds):
        """Let time pass: the camera takes its pictures, the uploader sends."""
        end = self.now + seconds
        while self.now < end:
            if self.now >= self.next_picture:
                self.add(1000 + len(self.taken_at))
                self.next_picture += EVERY
            wait = self.uploader.step()
            if wait != 0:
                self.now = min(self.now + (wait or EVERY), self.next_picture, end)

    def tries_in_each_hour(self, start):
        hours = Counter(int((at - start) // HOUR) for at in self.server.tries)
        return [hours[hour] for hour in range(max(hours) + 1)]

    def left(self):
        counts = self.outbox.counts()
        return counts[State.PENDING] + counts[State.UPLOADING]

    def rows_of_history(self):
        return self.outbox.database.value("SELECT count(*) FROM history")

    def size(self):
        return sum(file.stat().st_size for file in self.folder.glob("outbox.db*"))


@pytest.fixture
def folder():
    """A folder in memory, if there is one: flushes take most of the time elsewhere."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as path:
        yield Path(path)


@pytest.fixture
def trap(folder):
    trap = Trap(folder)
    yield trap
    trap.close()


@pytest.fixture
def chance():
    """Draw the same waits in every run."""
    before = random.getstate()
    random.seed(int(os.environ.get("STICKY_PI_SEED", "1")))
    yield
    random.setstate(before)


@pytest.mark.parametrize("took_before", [False, True])
def test_a_server_that_refuses_every_upload_for_a_day_is_asked_seldom_and_then_gets_everything(
    trap, chance, took_before
):
    if took_before:
        trap.add(0)
        trap.run(1)
    trap.add(*range(1, 201))
    trap.server.is_full = True
    start = trap.now
    trap.run(DAY)
    hours = trap.tries_in_each_hour(start)
    assert (trap.left(), trap.outbox.counts()[State.UPLOADED]) == (len(trap.taken_at) - took_before, took_before)
    assert {picture.attempts for picture in trap.outbox.pictures()} == {0}
    assert (trap.destination.state, trap.destination.holds_all) == (DestinationState.REFUSING, True)
    assert hours[0] <= 16
    assert max(hours[1:]) <= 12
    assert sum(hours[1:]) <= 7 * 23
    trap.server.is_full = False
    end = trap.now
    trap.run(2 * HOUR)
    assert trap.left() == 0
    assert {picture.attempts for picture in trap.outbox.pictures()} == {0}
    first = min(at for at in trap.server.stored_at.values() if at > end) - end
    last = max(trap.server.stored_at[file] for file, at in trap.taken_at.items() if at < end) - end
    assert first <= LONGEST_WAIT + 10
    assert last - first <= 272 * 3
    print(
        f"\nrefusing for a day: {hours[0]} uploads in the first hour, then {sum(hours[1:]) / 23:.1f} an hour"
        f" (at most {max(hours[1:])}); taken again {first:.0f} s after its end, the backlog {last - first:.0f} s later"
    )


def test_a_destination_that_is_down_for_a_month_costs_a_handful_of_probes_an_hour_and_nothing_else(trap, chance):
    trap.server.is_down = True
    start = trap.now
    trap.run(DAY)
    size = trap.size()
    trap.run(29 * DAY)
    hours = trap.tries_in_each_hour(start)
    count = 30 * 72
    for picture in trap.outbox.pictures():
        assert (picture.state, picture.attempts, picture.misses, picture.reason) == (State.PENDING, 0, 0, None)
    assert abs(trap.left() - count) <= 1
    rows, grown = trap.rows_of_history(), trap.size() - size
    assert rows == trap.left()
    assert grown < 1000 * count
    assert max(hours[1:]) <= 12
    assert sum(hours[1:]) <= 6 * (len(hours) - 1)
    trap.server.is_down = False
    end = trap.now
    trap.run(3 * HOUR)
    assert trap.left() <= 1
    first = min(trap.server.stored_at.values()) - end
    last = max(trap.server.stored_at[file] for file, at in trap.taken_at.items() if at < end) - end
    assert first <= LONGEST_WAIT + 10
    assert last - first <= count * (trap.server.UPLOADING + trap.server.ASKING / 10)
    print(
        f"\ndown for a month: {sum(hours[1:]) / (len(hours) - 1):.1f} probes an hour (at most {max(hours[1:])}),"
        f" {rows} rows of history for {count} pictures, {grown / count:.0f} bytes a picture;"
        f" taken again {first:.0f} s after its end, the backlog {last - first:.0f} s later"
    )


@dataclass
class Sent:
    """When the healthy pictures of a run were stored, and what became of the bad ones."""

    newest: float
    """seconds that a new picture waited at most"""
    backlog: float
    """seconds until the last of the backlog"""
    bad: list
    history: list
    refused: int
    rejected_after: float


def send_mixed(folder, n_bad):
    folder.mkdir()
    trap = Trap(folder)
    start = trap.now
    spread = range(0, 510, 51)
    bad = {name(number) for number in spread}
    trap.server.bad = bad if n_bad else set()
    trap.add(*[number for number in range(510) if n_bad or name(number) not in bad])
    trap.run(DAY)
    assert trap.left() <= 1
    waits = {file: at - trap.taken_at[file] for file, at in trap.server.stored_at.items()}
    healthy = [file for file, at in trap.taken_at.items() if at == start and file not in trap.server.bad]
    assert all(trap.outbox.at(file).state is State.UPLOADED for file in healthy)
    rows = [trap.outbox.at(file) for file in sorted(trap.server.bad)]
    history = [trap.outbox.history(row) for row in rows]
    rejected = max((events[-1].at - start for events in history), default=0.0)
    backlog = max(waits[file] for file in healthy)
    newest = max(wait for file, wait in waits.items() if trap.taken_at[file] > start)
    trap.close()
    return Sent(newest, backlog, rows, history, len(trap.server.tries), rejected)


def test_pictures_that_are_always_refused_delay_no_other_and_end_rejected(folder, chance):
    alone = send_mixed(folder / "alone", 0)
    mixed = send_mixed(folder / "mixed", 10)
    print(
        f"\n500 healthy and 10 bad: the backlog took {mixed.backlog:.0f} s, without the bad ones {alone.backlog:.0f} s;"
        f" {mixed.refused} uploads were refused, the last bad one rejected after {mixed.rejected_after / HOUR:.1f} h;"
        f" a new picture waited {mixed.newest:.0f} s at most, without the bad ones {alone.newest:.0f} s"
    )
    assert {(picture.state, picture.attempts) for picture in mixed.bad} == {(State.REJECTED, 5)}
    for events in mixed.history:
        assert [event.why for event in events] == ["taken in", *["status 500"] * (len(events) - 1)]
        assert len(events) > 5
    # What the refused uploads themselves took is all that the others waited longer.
    assert mixed.backlog <= alone.backlog + mixed.refused * (Server.UPLOADING + Server.ASKING) + 5
    assert mixed.newest <= alone.newest + 10 * (Server.UPLOADING + Server.ASKING) + 5


# --- what the log says of it ---------------------------------------------------------------------------------------


def lines_in_each_hour(caplog, trap, seconds):
    """Let time pass, and count what was logged in each hour, as text on a real handler and by its level."""
    hours = []
    for _ in range(int(seconds // HOUR)):
        before = len(caplog.text.splitlines())
        trap.run(HOUR)
        hours.append(len(caplog.text.splitlines()) - before)
    return hours


@pytest.mark.parametrize("waiting", [1, 1000])
def test_a_day_without_network_is_a_line_an_hour_however_many_pictures_wait(trap, chance, caplog, waiting):
    caplog.set_level(logging.INFO)
    trap.add(*range(waiting))
    trap.server.is_down = True
    hours = lines_in_each_hour(caplog, trap, DAY)
    print(f"\n{waiting} pictures without network: {sum(hours)} lines in a day, at most {max(hours)} in an hour")
    assert 12 <= sum(hours) <= 25
    assert max(hours) <= 2
    assert {record.levelno for record in caplog.records} == {logging.WARNING}
    said = caplog.messages[-1]
    assert said.startswith("the destination is unreachable, tried again in ")
    assert re.search(r": no route \(\d+ times in 2\d\.\d h\)$", said)
    caplog.clear()
    trap.server.is_down = False
    trap.run(2 * HOUR)
    works = [record for record in caplog.records if Kind.DESTINATION_WORKS.value == record.MESSAGE_ID]
    assert [record.levelno for record in works] == [logging.INFO]
    assert re.fullmatch(r"the destination works again, after \d+ failures in 1\.0 days", works[0].getMessage())
    assert len(caplog.records) == 1 + len(trap.server.stored_at)


def test_a_day_in_which_every_upload_is_refused_is_a_few_lines_an_hour(trap, chance, caplog):
    caplog.set_level(logging.INFO)
    trap.add(*range(1000))
    trap.server.is_full = True
    hours = lines_in_each_hour(caplog, trap, DAY)
    print(f"\nrefusing for a day: {sum(hours)} lines, at most {max(hours)} in an hour")
    assert max(hours) <= 8


def test_an_ordinary_day_is_one_line_a_picture_that_is_sent(trap, caplog):
    caplog.set_level(logging.INFO)
    trap.run(DAY)
    assert len(trap.server.stored_at) >= 70
    assert len(caplog.text.splitlines()) == len(trap.server.stored_at)


def test_a_network_that_comes_and_goes_all_day_is_a_few_lines_an_hour_besides_the_pictures(trap, chance, caplog):
    caplog.set_level(logging.INFO)
    trap.add(*range(100))
    hours = Counter()
    for minute in range(24 * 60):
        trap.server.is_down = minute % 2 == 0
        before = len(caplog.records)
        trap.run(60)
        about_pictures = {Kind.UPLOADED.value}
        hours[minute // 60] += sum(record.MESSAGE_ID not in about_pictures for record in caplog.records[before:])
    assert max(hours.values()) <= 8


# --- a fleet -----------------------------------------------------------------------------------------------------

TRAPS = 1000
OUTAGE = 6 * HOUR
CAPACITY = 16
"""Pictures that the server stores in a second: 8 at a time, half a second each"""


class SharedServer:
    """One for all the traps: it stores so many pictures a second, and the rest wait for their turn."""

    def __init__(self, capacity, back_at):
        self.capacity = capacity
        self.back_at = back_at
        self.busy = Counter()
        self.requests = Counter()
        self.stored = []

    def ask(self, now):
        self.requests[int(now)] += 1
        return now >= self.back_at

    def store(self, now):
        """Take an upload in that begins to arrive now; returns when it is stored."""
        self.requests[int(now)] += 1
        second = int(now)
        while self.busy[second] >= self.capacity:
            second += 1
        self.busy[second] += 1
        self.stored.append(second)
        return max(now, float(second)) + 0.5


class Member:
    """One trap of the fleet: a real outbox in memory, uploader and judge, and its link as its client."""

    def __init__(self, server, thumbnails, images):
        self.server = server
        self.now = 0.0
        self.seconds_for_a_picture = random.uniform(2, 16)  # 2 MB over 1 to 8 Mbit/s
        self.next_picture = random.uniform(0, EVERY)
        self.taken = 0
        self.outbox = Outbox(":memory:", longest_wait=LONGEST_WAIT, clock=lambda: self.now)
        self.outbox.destinations.change(URL, lambda _: True)
        self.uploader = Uploader(
            self.outbox.queue,
            self.outbox.destinations,
            thumbnails,
            ScanRequests(),
            image_dir=images,
            url=URL,
            open_client=lambda: self,
            give_up_after=5,
            stopping=lambda: False,
            clock=lambda: self.now,
        )

    def put_images(self, files, *, on_outcome):
        is_up = self.server.ask(self.now)
        self.now += 0.4
        for file in files:
            if not is_up:
                on_outcome(ImageOutcome(file.path, Outcome.UNSENT, None, UnreachableError("no route")))
                continue
            self.now = self.server.store(self.now) + self.seconds_for_a_picture
            on_outcome(ImageOutcome(file.path, Outcome.STORED, {"md5": file["md5"]}))

    def close(self):
        pass

    def step(self):
        """Do one thing; returns when to be called again."""
        while self.now >= self.next_picture:
            taken_at = (STARTED + timedelta(minutes=20 * self.taken)).isoformat() + "Z"
            about = ("1b74105a", taken_at, md5(0), {"width": 160, "height": 120})
            self.outbox.catalog.record([Taken(name(self.taken), Fingerprint(1, 1, 1), "disk", *about)])
            self.taken += 1
            self.next_picture += EVERY
        wait = self.uploader.step()
        return self.now if wait == 0 else min(self.now + (wait or EVERY), self.next_picture)


def test_a_fleet_whose_server_comes_back_does_not_call_all_at_once(tmp_path, chance):
    back_at = OUTAGE
    server = SharedServer(CAPACITY, back_at)
    thumbnails = ThumbnailFolder(str(tmp_path))
    thumbnails.keep(md5(0), THUMBNAILS)
    fleet = [Member(server, thumbnails, str(tmp_path)) for _ in range(TRAPS)]
    backlog = TRAPS * OUTAGE / EVERY
    calls = [(0.0, number) for number in range(TRAPS)]
    while len(server.stored) < 0.99 * backlog:
        at, number = heapq.heappop(calls)
        fleet[number].now = max(fleet[number].now, at)
        heapq.heappush(calls, (fleet[number].step(), number))
    # The recovery lasts until as many pictures are stored as 99 % of those that were waiting when it began.
    recovery = range(int(back_at), int(max(server.stored)))
    requests = [server.requests[second] for second in recovery]
    mean = sum(requests) / len(requests)
    print(
        f"\n{TRAPS} traps after {OUTAGE / HOUR:.0f} h: {backlog:.0f} pictures stored in {len(recovery)} s, {mean:.1f}"
        f" requests a second on average, {max(requests)} at most, {max(requests) / mean:.2f} times as many"
    )
    for member in fleet:
        member.outbox.close()
    assert max(requests) <= 3 * mean
