"""The API of a Sticky Pi server, of either published generation."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from sticky_pi_api.exceptions import RemoteError, TooLargeError, UnavailableError, UnclearEndError
from sticky_pi_api.filesystem.safe_open import unwrapped
from sticky_pi_api.image_parser import MAX_SIZE, ImageParser
from sticky_pi_api.put_images.checksum_cache import FileCache
from sticky_pi_api.put_images.concurrency import ConcurrencyLimit
from sticky_pi_api.put_images.remote import RemoteBatch, StaleAnswerError, UnclearUploads
from sticky_pi_api.put_images.upload_body import UploadBody
from sticky_pi_api.remote.images import find_images, find_series
from sticky_pi_api.remote.responses import WrongShapeError, read_rows
from sticky_pi_api.remote.server import SHORT_ANSWER, Server
from sticky_pi_api.specifications import BaseAPISpec
from sticky_pi_api.transport.cancellation import CancelScope
from sticky_pi_api.transport.credentials import Account, Secret
from sticky_pi_api.transport.rate_limit import RateLimit
from sticky_pi_api.transport.status_codes import TOO_LARGE, UNAUTHORISED, Answer, leaves_no_doubt
from sticky_pi_api.types import FileOrPath, Info, Outcome, Row, key_of
from sticky_pi_api.utils import utc_now
from sticky_pi_api.validation.queries import checked_image_what, image_keys, next_second, series_of

if TYPE_CHECKING:
    from sticky_pi_api.bundles.files import FileInfo
    from sticky_pi_api.bundles.transfer import Receive
    from sticky_pi_api.remote.annotations import ServerAnnotations
    from sticky_pi_api.remote.bundles import ServerBundles
    from sticky_pi_api.transport.cancellation import Timeouts

PARALLEL: Final = 4
"""Pictures sent at a time: enough to fill a link while the server works and answers are on their way.

With a round trip of 0.2 s and 0.5 s of work, one picture of 2 MB at a time uses 73 % of 8 Mbit/s, and two, four or
eight use 98 % (tests/bench/link.py). Four are for longer round trips.
"""

LOWEST_RATE: Final = 8000.0
"""Lowest rate of all transfers together, in bytes a second; slower requests are ended"""


class RemoteAPI(BaseAPISpec):
    """The API of a server; each method raises RemoteError where the server doesn't do it."""

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
        """Prepare for a server without connecting to it.

        `ca_file` has the certificates to trust, instead of the system's. At most `parallel` pictures are sent at a
        time. All uploads together use at most `max_rate` bytes a second; requests are ended where all together are
        slower than `lowest_rate`. Raises ValueError, and CertificateError for `ca_file`.
        """
        # Tracebacks show arguments.
        secret, password = Secret.of(password), ""
        from sticky_pi_api.transport.session import Http

        if parallel < 1 or lowest_rate <= 0:
            raise ValueError(f"parallel is {parallel} and lowest_rate {lowest_rate}; both must be more than 0")
        self._parallel = parallel
        self._rate = RateLimit(max_rate, clock=clock, sleep=sleep)
        # All uploads share the link, and the part of it that `max_rate` leaves them.
        lowest = min(lowest_rate, lowest_rate if max_rate is None else max_rate / 2) / parallel
        self._clock = clock
        http = Http(
            _address(protocol, host, port),
            ca_file=ca_file,
            connections=parallel + 1,
            lowest_rate=lowest,
            timeouts=timeouts,
            wall_clock=wall_clock,
        )
        self._server = Server(http, username, secret, clock)
        self._unclear = UnclearUploads()
        self._limit = ConcurrencyLimit(parallel)

    def close(self) -> None:
        """Cancel the requests of all threads, and close the connections."""
        self._server.http.close()

    def stalled_for(self) -> float:
        """Return for how long no request has made progress, as BaseAPISpec says."""
        return self._server.http.scope.stalled_for()

    def get_images(self, info: Iterable[Info], what: str = "metadata") -> list[Row]:
        """Return the rows of the images that are there, as BaseAPISpec says, in the order of `info`, each once."""
        path = f"/get_images/{_written(what)}"
        return find_images(self._server, image_keys(info), path)

    def get_image_series(self, info: Iterable[Info], what: str = "metadata") -> list[Row]:
        """Return the rows of the images that devices took in a time, as BaseAPISpec says."""
        from sticky_pi_api.remote.pagination import in_one_page

        pages = self._series_pages(info, what, in_one_page)
        return [row for series in pages for row in sorted(chain.from_iterable(series), key=key_of)]

    def iter_image_series(self, info: Iterable[Info], what: str = "metadata") -> Iterator[Row]:
        """Yield the rows of the images that devices took in a time, as BaseAPISpec says."""
        from sticky_pi_api.remote.pagination import in_pages

        pages = self._series_pages(info, what, in_pages)
        return chain.from_iterable(sorted(page, key=key_of) for series in pages for page in series)

    def put_uid_annotations(self, info: Iterable[Info]) -> list[Row]:
        """Add annotations to images, as BaseAPISpec says, after asking the server whether it can take all of them.

        They are sent in requests of 8 MB; the server adds all annotations of a request or none. Raises DoubtfulError
        where a request had no clear end, and the server doesn't hold all of it afterwards.
        """
        return self._annotations.put(info)

    def get_uid_annotations(self, info: Iterable[Info], what: str = "metadata") -> list[Row]:
        """Return the rows of the annotations of images, as BaseAPISpec says."""
        return self._annotations.find(image_keys(info), what)

    def get_uid_annotations_series(self, info: Iterable[Info], what: str = "metadata") -> list[Row]:
        """Return the rows of the annotations of series, as BaseAPISpec says."""
        return self._annotations.find_series(series_of(info), what)

    def get_users(self, info: Info | Sequence[Info] | None = None) -> list[Row]:
        """Return the rows of users, as BaseAPISpec says."""
        from sticky_pi_api.remote.users import all_users
        from sticky_pi_api.validation.users import checked_patterns, matching

        patterns = checked_patterns(info)
        return matching(all_users(self._server), patterns)

    def put_users(self, info: Iterable[Info]) -> list[Row]:
        """Add users, as BaseAPISpec says, after asking the server whether it has none of them."""
        from sticky_pi_api.remote.users import add_users
        from sticky_pi_api.validation.users import checked_users

        return add_users(self._server, checked_users(info))

    def _put_new_images(self, files: Iterable[FileOrPath | ImageParser]) -> list[Row]:
        # The server is asked first: an upload that it refuses overwrites the picture that it holds.
        rows = []
        for file in files:
            image = file if isinstance(file, ImageParser) else ImageParser(file)
            # A parsed picture needs no cache.
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

    @cached_property
    def _annotations(self) -> ServerAnnotations:
        from sticky_pi_api.remote.annotations import ServerAnnotations

        return ServerAnnotations(self._server)

    @cached_property
    def _bundles(self) -> ServerBundles:
        from sticky_pi_api.remote.bundles import ServerBundles

        return ServerBundles(self._server, self._rate)

    def _series_pages(
        self, info: Iterable[Info], what: str, in_pages: Callable[..., Iterator[list[Row]]]
    ) -> Iterator[Iterator[list[Row]]]:
        """Return the pages of each series, which `in_pages` asks for when they are read."""
        find, now = partial(find_series, self._server, f"/get_image_series/{_written(what)}"), utc_now()
        return (
            in_pages(partial(find, device), next_second(start), next_second(end), now)
            for device, start, end in series_of(info)
        )

    def _new_batch(self, n_threads: int, cache: FileCache) -> RemoteBatch:
        scope = CancelScope(self._server.http.scope)
        return RemoteBatch(
            partial(find_images, self._server, path="/get_images/metadata", scope=scope),
            partial(self._upload, scope=scope),
            self._unclear,
            self._limit,
            cache,
            cancel=scope.cancel,
            n_threads=n_threads,
            parallel=self._parallel,
            clock=self._clock,
        )

    def _upload(
        self, image: ImageParser, is_fresh: Callable[[], bool], on_sent: Callable[[], object], scope: CancelScope
    ) -> Row:
        """Upload a picture, as `put_images.remote.Upload` says."""
        with image.open() as stream:
            body = UploadBody(image, stream, self._rate, on_sent)

            def post(token: Account) -> Answer:
                if not is_fresh():
                    raise StaleAnswerError
                answer = self._server.http.post(
                    "/_put_new_images", body, token, body.content_type, largest=SHORT_ANSWER, scope=scope
                )
                if answer.status == UNAUTHORISED:
                    body.begun = body.whole = False
                return answer

            try:
                with unwrapped():
                    answer = self._server.with_token(post)
            except RemoteError as error:
                if body.begun:
                    raise UnclearEndError(error, whole=body.whole) from None
                raise
        if answer.status == TOO_LARGE and len(body) > MAX_SIZE:
            raise TooLargeError(image.path or image.filename, "no server takes a picture of this size (status 413)")
        return self._receipt(image, answer, body)

    def _receipt(self, image: ImageParser, answer: Answer, body: UploadBody) -> Row:
        try:
            with self._server.reading(answer, is_question=False, size=len(body)):
                rows = read_rows(answer.body)
                if len(rows) != 1 or key_of(rows[0]) != key_of(image):
                    raise WrongShapeError("without the row of the picture that it got")
        except RemoteError as error:
            if leaves_no_doubt(answer):
                raise
            raise UnclearEndError(error, whole=body.whole) from None
        if rows[0]["md5"] != image["md5"]:
            end = UnavailableError(f"{self._server.address} confirms other bytes of {image.filename} than were sent")
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
    return checked_image_what(what).replace("_", "-")
