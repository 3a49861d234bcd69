"""Send a server requests with a token, and read each answer, or raise the error that it means."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeVar

from sticky_pi_api.exceptions import (
    DoubtfulError,
    NotAnAPIError,
    RefusedError,
    RemoteError,
    UnavailableError,
    UnclearEndError,
)
from sticky_pi_api.put_images.remote import SECOND_QUESTION_AFTER
from sticky_pi_api.remote.responses import WrongShapeError, read_token
from sticky_pi_api.remote.token import Login
from sticky_pi_api.remote.warm_up import FAILED, WarmUp, is_cold
from sticky_pi_api.sqlite.connection import IntegrityError
from sticky_pi_api.transport.credentials import Account, Secret, SignedUrl
from sticky_pi_api.transport.deadline import CancelScope
from sticky_pi_api.transport.status_codes import (
    OK,
    STORED,
    UNAUTHORISED,
    Answer,
    failure_of,
    leaves_no_doubt,
    link_failure_of,
)
from sticky_pi_api.types import Row

if TYPE_CHECKING:
    from sticky_pi_api.transport.session import Body, Receive, Timeouts

JSON: Final = "application/json"
SERIES_TIME: Final = 600.0
"""seconds that a question about a series may take, over what others may"""

SHORT_ANSWER: Final = 2**20
"""bytes, unpacked, that the answer to a login or an upload may have: what says why it fails may be a long page"""

LARGEST_ANSWER: Final = 2**26
"""bytes, unpacked; no API answers with more"""

_GREETING: Final = b'[{"device": "00000000", "datetime": "2020-01-01_00-00-00"}]'
"""the smallest question: for a picture that no trap took"""

_BLOCK: Final = 65536
_PAGES: Final = (b"<html", b"<!doc")
"""how a login page of the network begins"""

_Found = TypeVar("_Found")


class Server:
    """One server and an account there, for any number of threads; each verb raises RemoteError where it fails."""

    def __init__(
        self,
        address: str,
        username: str,
        password: Secret,
        *,
        ca_file: str | None = None,
        connections: int = 8,
        lowest_rate: float,
        timeouts: Timeouts | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """Take its address and an account there; nothing is sent yet.

        A body that goes out at less than `lowest_rate` bytes a second is given up. Raises CertificateError.
        """
        from sticky_pi_api.transport.session import Http

        self.address = address
        self._is_cold = False
        """whether a worker failed since a question was answered"""
        self._lowest_rate = lowest_rate
        self._wall_clock = wall_clock
        self._http = Http(address, ca_file=ca_file, connections=connections, timeouts=timeouts, wall_clock=wall_clock)
        self._login = Login(username, password, self._get_token, clock=clock)

    def close(self) -> None:
        """Break off what is under way, and close the connections."""
        self._http.close()

    @property
    def scope(self) -> CancelScope:
        """All requests to the server, which `close` cancels."""
        return self._http.scope

    def ask(
        self,
        path: str,
        question: object,
        read: Callable[[bytes], _Found],
        *,
        is_small: bool = False,
        is_quick: bool = False,
        seconds: float = 0.0,
        largest: int = LARGEST_ANSWER,
        scope: CancelScope | None = None,
    ) -> _Found:
        """Send a question as JSON, and return what `read` makes of the answer; it raises WrongShapeError.

        A server that has just started is asked again; first what is small, unless the question itself `is_small`.
        What `is_quick` for a server is given up sooner; `seconds` is what it needs, over what others do. What answers
        with more than `largest` bytes is no API.
        """
        body = json.dumps(question).encode()

        def post(token: Account) -> Answer:
            return self.post(
                path, body, token, JSON, is_question=is_quick, seconds=seconds, largest=largest, scope=scope
            )

        # Its answer tells whether the workers fail.
        self._login.token()
        warm_up = self._warm_up(scope)
        answer = warm_up.insist(lambda: (None if is_small else self._greet(warm_up, scope)) or self._note(post))
        with self.reading(answer):
            return read(answer.body)

    def tell(self, path: str, body: bytes, read: Callable[[bytes], _Found]) -> _Found:
        """Send JSON that changes something, never twice, and return what `read` makes of the answer.

        Raises RemoteError where certainly nothing was changed, and UnclearEndError otherwise.
        """
        sent = _Body(body)

        def post(token: Account) -> Answer:
            answer = self.post(path, sent, token, JSON)
            sent.begun = sent.begun and answer.status != UNAUTHORISED
            return answer

        try:
            answer = self.with_token(post)
        except RemoteError as error:
            if sent.begun:
                raise UnclearEndError(error, whole=True) from None
            raise
        try:
            with self.reading(answer, "upload"):
                return read(answer.body)
        except RemoteError as error:
            if leaves_no_doubt(answer):
                raise
            raise UnclearEndError(error, whole=True) from None

    def post(
        self,
        path: str,
        body: bytes | Body,
        token: Account,
        content_type: str,
        *,
        is_question: bool = False,
        seconds: float = 0.0,
        largest: int = LARGEST_ANSWER,
        scope: CancelScope | None = None,
    ) -> Answer:
        """Send a request with a token, and return whatever is answered; `seconds` and `largest` as for `ask`.

        One that `is_question` gets less time at first, and more for an answer that is long.
        """
        seconds += len(body) / self._lowest_rate
        return self._http.post(
            path,
            body,
            account=token,
            content_type=content_type,
            seconds=seconds,
            largest=largest,
            is_question=is_question,
            rate=self._lowest_rate if is_question else math.inf,
            scope=scope,
        )

    def fetch(self, link: SignedUrl, receive: Receive) -> None:
        """Get what a link leads to, as `Http.get` says; without the token, which is for this server only."""
        answer = self._http.get(link, receive, rate=self._lowest_rate)
        if answer.status != OK:
            raise link_failure_of(answer, link.address, self._wall_clock)

    def peek(self, link: SignedUrl) -> Answer:
        """Ask for the head of what a link leads to, as `Http.peek` says; without the token."""
        return self._http.peek(link)

    def send_form(self, link: SignedUrl, body: Body, content_type: str) -> None:
        """Send a form to where a link leads; without the token, which is for this server only."""
        seconds = len(body) / self._lowest_rate
        answer = self._http.post_form(link, body, content_type=content_type, seconds=seconds)
        if answer.status not in STORED or answer.body.lstrip()[:5].lower() in _PAGES:
            raise link_failure_of(answer, link.address, self._wall_clock)

    def with_token(self, post: Callable[[Account], Answer]) -> Answer:
        """Send a request with a token; once more, with a new one, if it isn't taken."""
        token = self._login.token()
        answer = post(token)
        if answer.status == UNAUTHORISED:
            self._login.forget(token)
            answer = post(self._login.token())
        return answer

    @contextmanager
    def reading(self, answer: Answer, what: str = "question", size: int | None = None) -> Iterator[None]:
        """Raise RemoteError for an answer that says no, and for one that makes no sense; `size` as of `failure_of`."""
        if answer.status != OK:
            failure = failure_of(answer, self.address, self._login.user, self._wall_clock, size=size)
            if isinstance(failure, RefusedError) and what == "question":
                failure = UnavailableError(str(failure), retry_after=failure.retry_after)
            raise failure
        try:
            yield
        except WrongShapeError as error:
            raise NotAnAPIError(f"{self.address} doesn't answer as a Sticky Pi API does: it answers {error}") from None

    def _warm_up(self, scope: CancelScope | None = None) -> WarmUp:
        return WarmUp(self._http.timeouts.again, (scope or self.scope).wait)

    def _greet(self, warm_up: WarmUp, scope: CancelScope | None) -> Answer | None:
        """Have a server whose workers fail answer something small first; returns a failure to do so."""
        if not self._is_cold:
            return None

        def post(token: Account) -> Answer:
            path, largest = "/get_images/metadata", SHORT_ANSWER
            return self.post(path, _GREETING, token, JSON, is_question=True, largest=largest, scope=scope)

        answer = warm_up.insist(lambda: self._note(post))
        return answer if answer.status == FAILED else None

    def _note(self, post: Callable[[Account], Answer]) -> Answer:
        answer = self.with_token(post)
        self._is_cold = is_cold(answer)
        return answer

    def _get_token(self, account: Account) -> str:
        def post() -> Answer:
            return self._http.post(
                "/get_token", b"", account=account, content_type=JSON, largest=SHORT_ANSWER, is_question=True
            )

        warm_up = self._warm_up()
        answer = warm_up.insist(post)
        self._is_cold = self._is_cold or warm_up.was_needed
        with self.reading(answer):
            return read_token(answer.body)


class _Body:
    """A body that isn't sent again by itself once it was begun."""

    def __init__(self, content: bytes) -> None:
        self.begun = False
        self._content = content

    @property
    def may_repeat(self) -> bool:
        return not self.begun

    def __len__(self) -> int:
        return len(self._content)

    def __iter__(self) -> Iterator[bytes]:
        self.begun = True
        for start in range(0, len(self._content), _BLOCK):
            yield self._content[start : start + _BLOCK]


def settle(end: RemoteError, look: Callable[[], list[Row | None]], address: str) -> list[Row]:
    """Return the rows of what was sent without a clear end, where `look` finds all of it at the server after all.

    Raises sqlite3.IntegrityError where another's is there, `end` where it is a refusal, and DoubtfulError.
    """
    try:
        found = look()
    except RemoteError:
        found = [None]
    rows = [row for row in found if row is not None]
    if isinstance(end, RefusedError):
        if rows:
            raise IntegrityError(f"{address} has some of that already: somebody else was faster")
        raise end
    if len(rows) < len(found):
        message = f"{end}; whether all of it was stored isn't known: see what is there before sending it again"
        raise DoubtfulError(message, end, retry_after=SECOND_QUESTION_AFTER)
    return rows
