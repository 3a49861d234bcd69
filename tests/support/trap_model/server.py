"""A server, its storage and its ledger, and the client library's own logic of asking and sending in front of it."""

from collections import deque
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from hashlib import md5 as hash_of

from sticky_pi_api.exceptions import (
    AccountError,
    CertificateError,
    ClockNotSetError,
    NotAnAPIError,
    RefusedError,
    RequestTooLargeError,
    TooLargeError,
    UnavailableError,
    UnclearEndError,
    UnreachableError,
)
from sticky_pi_api.put_images.checksum_cache import FileCache
from sticky_pi_api.put_images.concurrency import ConcurrencyLimit
from sticky_pi_api.put_images.holdings import StoredObject, verify
from sticky_pi_api.put_images.remote import RemoteBatch, StaleAnswerError, UnclearUploads
from sticky_pi_api.put_images.upload_body import UploadBody
from sticky_pi_api.transport.rate_limit import RateLimit
from sticky_pi_api.types import Outcome
from sticky_pi_api.utils import datetime_to_string

ASKING, UPLOADING, LATE = 0.4, 2.0, 20.0
"""Seconds that a question and an upload take, and that a server is at work on one whose connection broke"""

# Made anew for each request: an error keeps what it passed through.
NO_ANSWERS = {
    "unreachable": partial(UnreachableError, "no route"),
    "certificate": partial(CertificateError, "the certificate can't be trusted"),
    "clock": partial(ClockNotSetError, "the trap's clock is not set"),
    "account": partial(AccountError, "wrong password"),
    "portal": partial(NotAnAPIError, "a web page"),
    "busy": partial(UnavailableError, "status 503", retry_after=120.0),
    "restarting": partial(UnavailableError, "status 502"),
}
"""Why a request isn't answered as it should be"""

ASKED = ("ok", "slow", *NO_ANSWERS)
"""What may become of a question"""

UNCLEAR = ("unreachable", "portal", "busy", "restarting")
UPLOADED = (
    *("ok", "refused", "too large", "front", "half", "garbled", "late", *NO_ANSWERS),
    *(f"{end}, {stored}" for end in UNCLEAR for stored in ("stored", "not stored")),
)
"""What may become of an upload; the unclear ends come after the whole body"""


@dataclass
class Server:
    """What one destination holds and does; `wrong` fills with what no client may do to it."""

    url: str
    clock: object
    sound: set
    """md5s of the pictures that its decoder survives"""
    rows: dict = field(default_factory=dict)
    """md5 by key"""
    objects: dict = field(default_factory=dict)
    """bytes by key"""
    shows_objects: bool = True
    down: str | None = None
    """what becomes of every question, or, if it is `refused`, of every upload"""
    asked: deque = field(default_factory=deque)
    uploaded: deque = field(default_factory=deque)
    """what becomes of the next requests; of those after them nothing special"""
    told: list = field(default_factory=list)
    """the outcomes that the uploader was told"""
    confirmed: set = field(default_factory=set)
    """each key and md5 that it ever said it holds"""
    vouched: set = field(default_factory=set)
    """of these, what it said when it was asked for a removal"""
    wrong: list = field(default_factory=list)
    uploads: int = 0
    _late: list = field(default_factory=list)

    def settle(self, *, at_once=False):
        """Store what is still being worked on, once its time has come."""
        ready = [one for one in self._late if at_once or one[0] <= self.clock.since_boot]
        self._late = [one for one in self._late if one not in ready]
        for _, key, blob, md5 in ready:
            self.store(key, blob, md5)

    def ask(self, keys):
        """Return the rows of some keys."""
        self.clock.advance(ASKING)
        answer = self.asked.popleft() if self.asked else self.down or "ok"
        if failure := NO_ANSWERS.get(answer):
            error = failure()
            raise error
        self.settle()
        self.clock.advance(70.0 if answer == "slow" else 0.0)
        self.clock.time()
        found = [key for key in keys if _text(key) in self.rows]
        self.confirmed |= {(_text(key), self.rows[_text(key)]) for key in found}
        return [{"device": key[0], "datetime": key[1], "md5": self.rows[_text(key)]} for key in found]

    def upload(self, image, is_fresh, on_sent):
        """Take a picture, as its next answer says."""
        if not is_fresh():
            raise StaleAnswerError
        answer = self.uploaded.popleft() if self.uploaded else self.down or "ok"
        if failure := NO_ANSWERS.get(answer):
            error = failure()
            raise error
        self.clock.advance(UPLOADING)
        key = _text((image["device"].lower(), image["datetime"]))
        with image.open() as stream:
            body = b"".join(UploadBody(image, stream, RateLimit(None), on_sent))
        blob = body.partition(b"\r\n\r\n")[2].rpartition(b"\r\n--")[0].rpartition(b"\r\n--")[0]
        md5 = _md5(blob)
        self.uploads += 1
        if answer == "half":
            raise UnclearEndError(NO_ANSWERS["unreachable"](), whole=False)
        self._examine(key, md5)
        if answer == "front":
            raise RequestTooLargeError("the web server in front of the API accepts no request of 1 kB", len(body))
        if answer == "too large":
            raise TooLargeError(image.path, "status 413")
        if answer == "refused":
            raise UnclearEndError(RefusedError("status 500"), whole=True)
        if answer == "late":
            self._late.append((self.clock.since_boot + LATE, key, blob, md5))
            raise UnclearEndError(NO_ANSWERS["unreachable"](), whole=True)
        return self._answer(answer, image, key, blob, md5)

    def _answer(self, answer, image, key, blob, md5):
        self.clock.time()
        end, _, stored = answer.partition(", ")
        if answer == "garbled":
            md5, blob = "0" * 32, b"garbled"
        if stored != "not stored":
            self.store(key, blob, md5)
        self.clock.time()
        row = {"device": image["device"], "datetime": image["datetime"], "md5": md5}
        if answer == "ok" and md5 == image["md5"]:
            self.confirmed.add((key, md5))
            return row
        error = NO_ANSWERS.get(end, partial(UnavailableError, "it says that it got other bytes"))
        raise UnclearEndError(error(), whole=True, row=None if end in NO_ANSWERS else row)

    def _examine(self, key, md5):
        """Note what harms a server, though it may not harm this one."""
        if md5 not in self.sound:
            self.wrong.append(f"{key}: sent what doesn't decode")
        if self.rows.get(key, md5) != md5:
            self.wrong.append(f"{key}: other bytes sent under a key that is held")
        elif key in self.rows:
            self.wrong.append(f"{key}: sent again though it is held")

    def store(self, key, blob, md5):
        """Store a picture as the servers do: the object is written before the row is refused."""
        if self.objects.get(key, blob) != blob:
            self.wrong.append(f"{key}: the stored object was overwritten")
        self.objects[key] = blob
        self.rows.setdefault(key, md5)

    def look(self, url):
        """Look at a stored object."""
        if not self.shows_objects:
            return None
        blob = self.objects[tuple(url.split("/"))]
        return StoredObject(len(blob), _md5(blob))


class Client:
    """What the uploader and removal need of a client: the real one's logic, without connections."""

    def __init__(self, server):
        self._server = server
        self._unclear, self._limit = UnclearUploads(), ConcurrencyLimit(1)

    def put_images(self, files, *, on_outcome):
        server = self._server
        batch = RemoteBatch(
            server.ask,
            server.upload,
            self._unclear,
            self._limit,
            FileCache(""),
            cancel=lambda: None,
            n_threads=1,
            parallel=1,
            clock=server.clock.monotonic,
        )
        with closing(batch.outcomes(files)) as outcomes:
            for outcome in outcomes:
                server.clock.time()
                server.told.append(outcome)
                on_outcome(outcome)

    def holdings(self, claims):
        def ask(info, _):
            rows = self._server.ask([(one["device"].lower(), one["datetime"]) for one in info])
            return [{**row, "url": "/".join(_text((row["device"], row["datetime"])))} for row in rows]

        found = verify(ask, self._server.look, claims)
        for claim, holding in zip(claims, found, strict=True):
            if holding in ("confirmed", "row only"):
                self._server.vouched.add((_text((claim.device.lower(), claim.datetime)), claim.md5))
        return found

    def close(self):
        pass

    def stalled_for(self):
        return 0.0


def is_kept(outcome):
    """Say whether an outcome's receipt is for the bytes that the picture had."""
    return outcome.outcome in (Outcome.STORED, Outcome.HELD)


def _text(key):
    return key[0], datetime_to_string(key[1])


def _md5(blob):
    return hash_of(blob, usedforsecurity=False).hexdigest()
