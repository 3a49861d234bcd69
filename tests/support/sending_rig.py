"""A real uploader and outbox on a clock that tests move, sending to a client that answers as it is told."""

import os
from datetime import datetime, timedelta

from sticky_pi_api.types import ImageOutcome, Outcome
from sticky_pi_uploader.models import Fingerprint, Taken
from sticky_pi_uploader.outbox import Outbox
from sticky_pi_uploader.scan_requests import ScanRequests
from sticky_pi_uploader.state_dir.thumbnails import ThumbnailFolder, Thumbnails
from sticky_pi_uploader.upload.backoff import LONGEST_WAIT
from sticky_pi_uploader.upload.uploader import Uploader

HERE = "https://api.example.org"
STARTED = datetime(2020, 7, 5, 10, 7, 16)  # noqa: DTZ001  # UTC, as in the file names
THUMBNAILS = Thumbnails(b"\xff\xd8large\xff\xd9", b"\xff\xd8mini\xff\xd9")


def name(number):
    return f"1b74105a.{STARTED + timedelta(minutes=20 * number):%Y-%m-%d_%H-%M-%S}.jpg"


def md5(number):
    return f"{number:032x}"


class FakeClient:
    """Gives the answers that it is told to, one a picture, and then takes every picture.

    An answer is an Outcome, an (Outcome, error or md5) pair, or an exception, which `put_images` raises.
    """

    def __init__(self, *answers):
        self.answers = list(answers)
        self.calls = []
        self.files = []
        self.opened = self.closed = 0

    def open(self):
        self.opened += 1
        return self

    def put_images(self, files, *, on_outcome):
        self.calls.append([os.path.basename(file.path) for file in files])
        self.files += files
        for file in files:
            answer = self.answers.pop(0) if self.answers else Outcome.STORED
            if isinstance(answer, BaseException):
                raise answer
            outcome, more = answer if isinstance(answer, tuple) else (answer, None)
            on_outcome(self.outcome(file, outcome, more))
        return []

    def outcome(self, file, outcome, more):
        error = more if isinstance(more, Exception) else None
        has_row = (
            error is None
            and more != "no row"
            and (more is not None or outcome in (Outcome.STORED, Outcome.HELD, Outcome.CONFLICT))
        )
        return ImageOutcome(file.path, outcome, {"md5": more or file["md5"]} if has_row else None, error)

    def close(self):
        self.closed += 1


class Rig:
    """What stands around an uploader, in one folder."""

    def __init__(self, folder, client=None, url=HERE):
        self.folder = folder
        self.url = url
        self.now = 1_700_000_000.0
        self.stopping = False
        self.client = client or FakeClient()
        self.images = folder / "images"
        self.images.mkdir()
        self.scan_requests = ScanRequests()
        self.thumbnails = ThumbnailFolder(str(folder / "thumbnails"))
        self.outbox = self.open_outbox()
        self.uploader = self.make()

    def open_outbox(self):
        outbox = Outbox(str(self.folder / "outbox.db"), longest_wait=LONGEST_WAIT, clock=lambda: self.now)
        outbox.destinations.change(self.url, lambda _: True)
        return outbox

    def exchange_queue(self, kind):
        """Work with another kind of queue on the same outbox."""
        destinations = self.outbox.destinations
        self.outbox.queue = kind(self.outbox.database, destinations, longest_wait=LONGEST_WAIT)
        self.uploader = self.make()

    def make(self, open_client=None, stopping=None, give_up_after=3, monotonic=None, **more):
        return Uploader(
            self.outbox.queue,
            self.outbox.destinations,
            self.thumbnails,
            self.scan_requests,
            image_dir=str(self.images),
            url=self.url,
            open_client=open_client or self.client.open,
            give_up_after=give_up_after,
            stopping=stopping or (lambda: self.stopping),
            clock=lambda: self.now,
            monotonic=monotonic or (lambda: self.now),
            **more,
        )

    def reboot(self, **more):
        """Begin anew with what is on disk."""
        self.close()
        self.outbox = self.open_outbox()
        self.outbox.queue.recover()
        self.uploader = self.make(**more)

    def close(self):
        self.uploader.close()
        self.outbox.close()

    def add(self, *numbers):
        """Have these pictures taken in."""
        self.outbox.catalog.record([self.taken(number, number) for number in numbers])

    def read_again(self, number, content, version=1):
        """Have a file read again with other contents; `version` is another one if it was written anew."""
        self.outbox.catalog.record([self.taken(number, content, version)])

    def taken(self, number, content, version=1):
        self.thumbnails.keep(md5(content), THUMBNAILS)
        taken_at = (STARTED + timedelta(minutes=20 * number)).isoformat() + "Z"
        about = ("1b74105a", taken_at, md5(content), {"width": 2592, "height": 1944, "temp": 20.5})
        return Taken(name(number), Fingerprint(1, version, 1), "disk", *about)

    def answer(self, *answers):
        self.client.answers[:] = answers

    def step(self, *answers):
        """Have the next pictures answered so, in one step."""
        self.answer(*answers)
        return self.uploader.step()

    def try_again(self, *answers):
        """Let every wait pass, and take a step."""
        self.now += LONGEST_WAIT
        return self.step(*answers)

    def take(self, number=99):
        """Have the destination take a picture, while whatever else is there waits."""
        self.add(number)
        waiting = self.outbox.queue.claim(1000)
        for picture in waiting:
            if picture.path == name(number):
                self.outbox.queue.confirm(picture, picture.md5, "stored", accepted_by=self.url)
            else:
                self.outbox.queue.release(picture)

    def at(self, number):
        return self.outbox.at(name(number))

    def whys(self, number):
        return [event.why for event in self.outbox.history(self.at(number))]

    @property
    def destination(self):
        return self.outbox.destination(self.url)

    @property
    def held_for(self):
        """The seconds that the queue still waits for the destination."""
        return self.destination.retry_at - self.now

    def own_wait(self, number):
        """The seconds that a picture still waits for itself."""
        return self.at(number).not_before - self.now
