"""The API of a Sticky Pi server, of either published generation: its verbs over HTTP."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from sticky_pi_api.bundles.files import FileInfo
from sticky_pi_api.bundles.transfer import Receive
from sticky_pi_api.exceptions import RemoteError, TooLargeError, UnavailableError, UnclearEndError
from sticky_pi_api.filesystem.regular_files import FileFailedError
from sticky_pi_api.image_parser import MAX_SIZE, ImageParser
from sticky_pi_api.local.images import next_second
from sticky_pi_api.put_images.checksum_cache import FileCache
from sticky_pi_api.put_images.concurrency import ConcurrencyLimit
from sticky_pi_api.put_images.remote import KEYS_PER_QUESTION, RemoteBatch, StaleAnswerError, UnclearUploads
from sticky_pi_api.put_images.request import UploadBody, open_picture
from sticky_pi_api.remote.annotations import ServerAnnotations
from sticky_pi_api.remote.bundles import ServerBundles
from sticky_pi_api.remote.images import chunks, write_keys, write_series
from sticky_pi_api.remote.pagination import in_one_page, in_pages
from sticky_pi_api.remote.responses import WrongShapeError, read_numbered_rows, read_rows
from sticky_pi_api.remote.server import SERIES_TIME, SHORT_ANSWER, Server
from sticky_pi_api.remote.users import ServerUsers
from sticky_pi_api.specifications import BaseAPISpec
from sticky_pi_api.storage import checked_what
from sticky_pi_api.transport.credentials import Account, Secret
from sticky_pi_api.transport.deadline import CancelScope
from sticky_pi_api.transport.rate_limit import RateLimit
from sticky_pi_api.transport.status_codes import TOO_LARGE, UNAUTHORISED, Answer, leaves_no_doubt
from sticky_pi_api.types import FileOrPath, Info, Key, Outcome, Row, key_of
from sticky_pi_api.utils import utc_now
from sticky_pi_api.validation.annotations import checked_annotation_what, checked_annotations
from sticky_pi_api.validation.queries import image_keys, series_of
from sticky_pi_api.validation.users import checked_patterns, checked_users, matching

if TYPE_CHECKING:
    from sticky_pi_api.transport.session import Timeouts

PARALLEL: Final = 4
"""Pictures sent at a time: enough to fill a link while servers are at work and answers on their way.

With a round trip of 0.2 s, servers that take 0.5 s and 2 MB a picture, one at a time fills 73 % of 8 Mbit/s, and two,
four or eight 98 % (tests/bench/link.py); of 1 Mbit/s, 96 % and from two on all. Four are for longer round trips.
"""

_LARGEST_ROW: Final = 8192
"""bytes, unpacked, that the answer about one picture may have: some 600 and a signed link"""

LOWEST_RATE: Final = 8000.0
"""bytes a second; what goes slower than that is given up"""


class RemoteAPI(BaseAPISpec):
    """A server's verbs; each raises RemoteError where the server doesn't do it."""

    def __init__(
        self,
        host: str,
        username: str,
        password: str | Secret,
        protocol: str = "https",
        port: int = 443,
        *,
        ca_file: str | None = None,
        parallel: int = PARALLEL,
        max_rate: float | None = None,
        lowest_rate: float = LOWEST_RATE,
        timeouts: Timeouts | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Take the server's address and an account there, as RemoteClient says; nothing is sent yet."""
        # Tracebacks show arguments.
        secret, password = Secret.of(password), ""
        if parallel < 1 or lowest_rate <= 0:
            raise ValueError(f"parallel is {parallel} and lowest_rate {lowest_rate}; both must be more than 0")
        self._parallel = parallel
        self._rate = RateLimit(max_rate, clock=clock, sleep=sleep)
        # All uploads share the link, and what they are let have of it.
        lowest = min(lowest_rate, lowest_rate if max_rate is None else max_rate / 2) / parallel
        self._clock = clock
        self._server = Server(
            _address(protocol, host, port),
            username,
            secret,
            ca_file=ca_file,
            connections=parallel + 1,
            lowest_rate=lowest,
            timeouts=timeouts,
            clock=clock,
            wall_clock=wall_clock,
        )
        self._annotations = ServerAnnotations(
            self._server, lambda keys: self._find(keys, "/get_images/metadata", read=read_numbered_rows)
        )
        self._bundles = ServerBundles(self._server, self._rate)
        self._users = ServerUsers(self._server)
        self._unclear = UnclearUploads()
        self._limit = ConcurrencyLimit(parallel)

    def close(self) -> None:
        """Break off what is under way, and close the connections."""
        self._server.close()

    def stalled_for(self) -> float:
        """Tell for how long its requests haven't got on, as BaseAPISpec says; within their deadlines they do."""
        return self._server.scope.stalled_for()

    def get_images(self, info: Iterable[Info], what: str = "metadata") -> list[Row]:
        """Return the rows of the images that are there, as BaseAPISpec says, in the order of `info`, each once."""
        path = f"/get_images/{_written(what)}"
        return self._find(image_keys(info), path)

    def get_image_series(self, info: Iterable[Info], what: str = "metadata") -> list[Row]:
        """Return the rows of the images that devices took in a time, as BaseAPISpec says."""
        path = f"/get_image_series/{_written(what)}"
        rows = []
        for device, start, end in series_of(info):
            find = partial(self._find_series, path, device)
            pages = in_one_page(find, next_second(start), next_second(end), utc_now())
            rows += sorted(chain.from_iterable(pages), key=key_of)
        return rows

    def iter_image_series(self, info: Iterable[Info], what: str = "metadata") -> Iterator[Row]:
        """Yield the rows of the images that devices took in a time, as BaseAPISpec says."""
        path = f"/get_image_series/{_written(what)}"
        return chain.from_iterable(
            sorted(page, key=key_of)
            for device, start, end in series_of(info)
            for page in in_pages(
                partial(self._find_series, path, device), next_second(start), next_second(end), utc_now()
            )
        )

    def put_uid_annotations(self, info: Iterable[Info]) -> list[Row]:
        """Add annotations to images, as BaseAPISpec says, after asking the server whether it can take all of them.

        They go in requests of 8 MB; the server takes all of one or none. Raises DoubtfulError where a request had no
        clear end, and the server doesn't hold all of it afterwards.
        """
        return self._annotations.put(checked_annotations(info, for_server=True))

    def get_uid_annotations(self, info: Iterable[Info], what: str = "metadata") -> list[Row]:
        """Return the rows of the annotations of images, as BaseAPISpec says."""
        what = checked_annotation_what(what)
        return self._annotations.find(image_keys(info), what)

    def get_uid_annotations_series(self, info: Iterable[Info], what: str = "metadata") -> list[Row]:
        """Return the rows of the annotations of series, as BaseAPISpec says."""
        what = checked_annotation_what(what)
        return self._annotations.find_series(series_of(info), what)

    def get_users(self, info: Info | Sequence[Info] | None = None) -> list[Row]:
        """Return the rows of users, as BaseAPISpec says."""
        patterns = checked_patterns(info)
        return matching(self._users.all(), patterns)

    def put_users(self, info: Iterable[Info]) -> list[Row]:
        """Add users, as BaseAPISpec says, after asking the server whether it has none of them."""
        return self._users.put(checked_users(info))

    def _put_new_images(self, files: Iterable[FileOrPath | ImageParser]) -> list[Row]:
        # The server is asked all the same: what it holds is overwritten by an upload that it refuses.
        rows = []
        for file in files:
            image = file if isinstance(file, ImageParser) else ImageParser(file)
            # Parsed as it is, no cache is opened for it.
            for outcome in self._new_batch(1, FileCache("")).outcomes([image]):
                if outcome.outcome in (Outcome.HELD, Outcome.CONFLICT):
                    raise sqlite3.IntegrityError(f"{image.filename}: its device and datetime are held already")
                if outcome.error is not None:
                    raise outcome.error
                rows += [outcome.row] if outcome.row is not None else []
        return rows

    def _get_ml_bundle_file_list(self, bundle_name: str, what: str = "all") -> list[Row]:
        return self._bundles.files(bundle_name, what)

    def _get_ml_bundle_upload_links(self, bundle_name: str, info: Iterable[Info]) -> list[Row]:
        return self._bundles.wanted(bundle_name, info)

    def _send_bundle_file(self, file: FileInfo, url: Mapping[str, Any]) -> None:
        self._bundles.send(file, url)

    def _fetch_bundle_file(self, row: Row, into: Receive) -> None:
        self._bundles.fetch(row, into)

    def _new_batch(self, n_threads: int, cache: FileCache) -> RemoteBatch:
        scope = CancelScope(self._server.scope)
        return RemoteBatch(
            partial(self._find, path="/get_images/metadata", scope=scope),
            partial(self._upload, scope=scope),
            self._unclear,
            self._limit,
            cache,
            cancel=scope.cancel,
            n_threads=n_threads,
            parallel=self._parallel,
            clock=self._clock,
        )

    def _find(
        self,
        keys: Sequence[Key],
        path: str,
        scope: CancelScope | None = None,
        *,
        read: Callable[[bytes], list[Row]] = read_rows,
    ) -> list[Row]:
        """Return the rows of keys, each once, in their order; servers fail at an empty question."""
        found: dict[Key, Row] = {}
        for chunk in chunks(keys, KEYS_PER_QUESTION):
            largest = SHORT_ANSWER + _LARGEST_ROW * len(chunk)
            question, is_small = write_keys(chunk), len(chunk) == 1
            answer = self._server.ask(
                path, question, read, is_small=is_small, is_quick=True, largest=largest, scope=scope
            )
            rows = {key_of(row): row for row in answer}
            found |= {key: rows[key] for key in chunk if key in rows}
        return list(found.values())

    def _find_series(self, path: str, device: str, start: datetime, end: datetime) -> list[Row]:
        return self._server.ask(path, write_series((device, start, end)), read_rows, seconds=SERIES_TIME)

    def _upload(
        self, image: ImageParser, is_fresh: Callable[[], bool], on_sent: Callable[[], object], scope: CancelScope
    ) -> Row:
        """Upload a picture, as `put_images.remote.Upload` says."""
        with open_picture(image) as stream:
            body = UploadBody(image, stream, self._rate, on_sent)

            def post(token: Account) -> Answer:
                if not is_fresh():
                    raise StaleAnswerError
                answer = self._server.post(
                    "/_put_new_images", body, token, body.content_type, largest=SHORT_ANSWER, scope=scope
                )
                if answer.status == UNAUTHORISED:
                    body.begun = body.whole = False
                return answer

            try:
                answer = self._server.with_token(post)
            except FileFailedError as failure:
                raise failure.error from None
            except RemoteError as error:
                if body.begun:
                    raise UnclearEndError(error, whole=body.whole) from None
                raise
        if answer.status == TOO_LARGE and len(body) > MAX_SIZE:
            raise TooLargeError(image.path or image.filename, "no server takes a picture of this size (status 413)")
        return self._receipt(image, answer, body)

    def _receipt(self, image: ImageParser, answer: Answer, body: UploadBody) -> Row:
        try:
            with self._server.reading(answer, "upload", len(body)):
                rows = read_rows(answer.body)
                if len(rows) != 1 or key_of(rows[0]) != key_of(image):
                    raise WrongShapeError("without the row of the picture that it got")
        except RemoteError as error:
            if leaves_no_doubt(answer):
                raise
            raise UnclearEndError(error, whole=body.whole) from None
        if rows[0]["md5"] != image["md5"]:
            end = UnavailableError(f"{self._server.address} says that it got other bytes of {image.filename}")
            raise UnclearEndError(end, whole=body.whole, row=rows[0])
        return rows[0]


def _address(protocol: str, host: str, port: int) -> str:
    if protocol not in ("http", "https"):
        raise ValueError(f"protocol is {protocol!r}; it must be https or http")
    if not host or any(character in host for character in "/?#@\\ ") or not host.isprintable():
        raise ValueError(f"host is {host!r}; it must be a host's name or address alone")
    host = f"[{host}]" if ":" in host and not host.startswith("[") else host
    return f"{protocol}://{host}" if port == {"http": 80, "https": 443}[protocol] else f"{protocol}://{host}:{port}"


def _written(what: str) -> str:
    return checked_what(what).replace("_", "-")
