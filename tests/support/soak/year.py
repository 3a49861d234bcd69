"""The trap's year: its camera, its network, its power, its clock and its disk."""

from datetime import UTC, datetime
from random import Random

from padding import padded
from sticky_pi_uploader.config.model import RetentionConfig
from sticky_pi_uploader.config.values import Space
from sticky_pi_uploader.demo.pictures import picture_bytes
from sticky_pi_uploader.models import State
from sticky_pi_uploader.retention.policy import DAY, INTERVAL
from sticky_pi_uploader.service.workers import TROUBLE_WAIT
from trap_model.clock import Clock
from trap_model.pool import DEVICES, FIRST, SMALL, file_name
from trap_model.server import Server
from trap_model.trap import Trap

from .samples import take
from .shelf import Shelf

HOUR = 3600.0
WEEK = 7 * DAY
EVERY = 1200.0
"""Seconds from one picture to the next"""
SCAN = 7 * DAY
"""Seconds between two looks at the whole card: what arrives is hinted at, as by the watcher"""

KEEP_DAYS, KEEP_RECORD_DAYS = 7, 14
"""What bounds the card and the outbox within a year"""

STEADY = range(18, 28)
"""Weeks without a reboot, so that what one process gathers is seen"""

_BEGINNING = datetime(2023, 3, 1, tzinfo=UTC).timestamp()
_UNSET = datetime(2000, 1, 1, tzinfo=UTC).timestamp()


class AnyMd5:
    """Stands for the md5s of all the pictures of a year: they are made one by one."""

    def __contains__(self, _):
        return True


class Year:
    """Lets it pass, picture by picture."""

    def __init__(self, folder, *, seed, disk=None, hurry=1, tell=lambda _: None):
        """Begin in an empty folder; `disk` can be filled, else writes fail instead.

        In a `hurry`, so many times as much goes wrong, for so many times as short. `tell` gets each sample.
        """
        self._hurry = hurry
        self._tell = tell
        self.random = Random(seed)
        self.clock = Clock(_BEGINNING)
        self.server = Server("https://api.example.org", self.clock, AnyMd5())
        self.server.rows, self.server.objects = Shelf(folder.parent / "rows"), Shelf(folder.parent / "objects")
        keep = RetentionConfig(KEEP_DAYS, Space(bytes=0), (), KEEP_RECORD_DAYS)
        self.trap = Trap(folder, self.clock, self.server, disk, keep)
        self.disk = disk
        self.taken = self.dated = self.missed = self.reboots = self.outages = self.full = 0
        self.undated = set()
        """names of pictures that were taken with the clock unset: they are held apart, on the card"""
        self.samples = []
        self._blob = picture_bytes(DEVICES[0], FIRST, size=SMALL)
        self._ends = {}
        """when what is wrong just now ends, in seconds since the beginning, and what ends it then"""
        self._scan_at = self._retention_at = 0.0
        self.trap.start()

    def close(self):
        self.trap.stop()
        self.server.rows.close()
        self.server.objects.close()

    def pass_(self, weeks):
        """Let weeks pass, then a last one in which nothing goes wrong."""
        for week in range(weeks):
            for number in range(int(WEEK / EVERY)):
                self._mishap(week)
                self._live(week * WEEK + number * EVERY + EVERY)
            self._look(week)
        for end in self._ends.values():
            end[1]()
        self._live(self.clock.since_boot + WEEK, camera=False)
        self._look(weeks)

    def _mishap(self, week):
        """Now and then, begin something; what began earlier ends in its time."""
        for what in [what for what, (at, _) in self._ends.items() if at <= self.clock.since_boot]:
            self._ends.pop(what)[1]()
        if "outage" not in self._ends and self.random.random() < self._hurry / 700:
            self.outages += 1
            length = self.random.choice([HOUR, 6 * HOUR, DAY, 3 * DAY, 7 * DAY, 16 * DAY])
            self.server.down = self.random.choice(["unreachable", "unreachable", "portal", "account", "refused"])
            self._ends["outage"] = self.clock.since_boot + length / self._hurry, self._end_outage
        if "full" not in self._ends and self.random.random() < self._hurry / 700:
            self.full += 1
            self._fill()
            self._ends["full"] = self.clock.since_boot + self.random.choice([600.0, HOUR, 4 * HOUR]), self._free
        if week not in STEADY and self.random.random() < self._hurry / 200:
            self._reboot()

    def _end_outage(self):
        self.server.down = None

    def _fill(self):
        if self.disk:
            self.disk.fill(0)
        else:
            self.trap.largest_file = 0

    def _free(self):
        self.trap.largest_file = None
        if self.disk:
            self.disk.free()

    def _reboot(self):
        """Cut the power amid a step, or between two; the clock may be unset at the next boot."""
        self.reboots += 1
        if self.trap.outbox:
            self.clock.cut_after = self.random.randrange(60)
            self.trap.attempt(self.random.choice([self.trap.intake.step, self.trap.uploader.step]))
        if self.trap.outbox:
            self.trap.cut_power()
        if "clock" not in self._ends and self.random.random() < 1 / 3:
            self.clock.wall = _UNSET
            unset = self.random.choice([600.0, DAY]) / self._hurry
            self._ends["clock"] = self.clock.since_boot + unset, self._set_clock
        self.trap.start()

    def _set_clock(self):
        self.clock.wall = _BEGINNING + self.clock.since_boot
        if self.trap.outbox:
            self.trap.attempt(self.trap.outbox.destinations.end_wait)

    def _live(self, until, *, camera=True):
        """Take a picture, and do what is to be done until the next one is due."""
        if camera:
            self._take_picture()
        while self.clock.since_boot < until:
            if self.trap.outbox is None and not self.trap.start():
                self.clock.advance(min(600.0, until - self.clock.since_boot))
                continue
            self._look_and_make_room()
            looked, look_in = self.trap.attempt(self.trap.intake.step)
            sent, send_in = self.trap.attempt(self.trap.uploader.step) if self.trap.outbox else (False, None)
            waits = [EVERY if wait is None else wait for wait in (look_in, send_in)]
            if not (looked and sent):
                waits = [TROUBLE_WAIT]
            elif self.trap.scan_requests:
                waits = [0.0]
            self.clock.advance(max(0.0, min(*waits, until - self.clock.since_boot)))
            self.server.told.clear()

    def _look_and_make_room(self):
        now = self.clock.since_boot
        if now >= self._scan_at:
            self._scan_at = now + SCAN
            self.trap.scan_requests.everything()
        while self.trap.outbox and now >= self._retention_at:
            _, wait = self.trap.attempt(self.trap.retention.step)
            self._retention_at = now + (INTERVAL if wait is None else wait)
            if wait != 0 and self.trap.outbox:
                self.trap.attempt(self.trap.upkeep.step)
        self.server.vouched.clear()
        self.server.confirmed.clear()

    def _take_picture(self):
        when = datetime.fromtimestamp(self.clock.wall, UTC)
        folder = self.trap.images / DEVICES[0] / f"{when:%Y-%m-%d}"
        path = folder / file_name(DEVICES[0], when)
        self.taken += 1
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path.with_name(f"{path.name}~").write_bytes(padded(self._blob, len(self._blob) + 100, self.taken))
        except OSError:
            self.missed += 1
            path.with_name(f"{path.name}~").unlink(missing_ok=True)
            return
        path.with_name(f"{path.name}~").rename(path)
        if self.clock.wall < _BEGINNING:
            self.undated.add(path.name)
        else:
            self.dated += 1
        if self.trap.outbox:
            self.trap.scan_requests.file(str(path.relative_to(self.trap.images)))

    def _look(self, week):
        counts = self.counts()
        if counts is not None:
            self.samples.append(take(week, sum(counts.values()), self.trap.state))
            self._tell(self.samples[-1])

    def counts(self):
        """Return how many pictures the outbox has in each state; None where it can't be read just now."""
        if self.trap.outbox is None:
            return None
        done, counts = self.trap.attempt(self.trap.outbox.counts)
        return {state: count for state, count in counts.items() if count} if done else None

    def left(self):
        """Count the pictures that are still to be sent."""
        counts = self.counts()
        return counts.get(State.PENDING, 0) + counts.get(State.UPLOADING, 0)
