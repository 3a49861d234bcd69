"""Log in to a server, send it requests with the token, and read each answer, or raise the error that it means."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeVar

from sticky_pi_api.exceptions import DoubtfulError, NotAnAPIError, RefusedError, RemoteError, UnavailableError
from sticky_pi_api.put_images.remote import SECOND_QUESTION_AFTER
from sticky_pi_api.remote.responses import WrongShapeError, read_token
from sticky_pi_api.remote.warm_up import FAILED, WarmUp, is_cold
from sticky_pi_api.sqlite.connection import IntegrityError
from sticky_pi_api.transport.cancellation import CancelScope
from sticky_pi_api.transport.credentials import Account, Secret
from sticky_pi_api.transport.status_codes import (
    LARGEST_ANSWER,
    OK,
    UNAUTHORISED,
    Answer,
    failure_of,
    leaves_no_doubt,
)
from sticky_pi_api.types import Row

if TYPE_CHECKING:
    from sticky_pi_api.transport.session import Http

SHORT_ANSWER: Final = 2**20
"""Largest decompressed answer to a login or an upload, in bytes: the text of an error may be a long page"""

RENEWED_AFTER: Final = 12 * 3600.0
"""Time for which a token is used, in seconds; servers accept it for 24 hours"""

_GREETING: Final = b'[{"device": "00000000", "datetime": "2020-01-01_00-00-00"}]'
"""The smallest question: for a picture that no trap took"""

_BLOCK: Final = 65536

_Found = TypeVar("_Found")


class Server:
    """One server and an account there, for any number of threads; each method raises RemoteError where it fails."""

    def __init__(self, http: Http, username: str, password: Secret, clock: Callable[[], float]) -> None:
        self.address = http.address
        self.http = http
        self._is_cold = False
        """whether a worker failed since a question was answered"""
        self._login = Login(username, password, self._get_token, clock=clock)

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
        """Send a question as JSON, and return the result of `read` for the answer; `read` raises WrongShapeError.

        A server that has just started is asked again, at first with a smaller question unless this one `is_small`. A
        question that `is_quick` to answer gets less time. `seconds`, `largest` and `scope` are those of `Http.post`.
        """
        body = json.dumps(question).encode()

        def post(token: Account) -> Answer:
            return self.http.post(
                path, body, token, is_question=is_quick, seconds=seconds, largest=largest, scope=scope
            )

        # The answer to a login tells whether the workers fail.
        self._login.token()
        warm_up = self._warm_up(scope)
        answer = warm_up.insist(lambda: (None if is_small else self._greet(warm_up, scope)) or self._note(post))
        with self.reading(answer):
            return read(answer.body)

    def tell(
        self, path: str, body: bytes, read: Callable[[bytes], list[Row]], look: Callable[[], list[Row | None]]
    ) -> list[Row]:
        """Send JSON that adds rows, never twice, and return the rows that `read` finds in the answer.

        Where the request ends without a clear answer, `look` asks the server for each of the rows, and they are
        returned if the server has all of them. Raises RemoteError where nothing was added, sqlite3.IntegrityError where
        another client added the same meanwhile, and DoubtfulError where it isn't known.
        """
        sent = _Body(body)
        answer: Answer | None = None

        def post(token: Account) -> Answer:
            answer = self.http.post(path, sent, token)
            sent.begun = sent.begun and answer.status != UNAUTHORISED
            return answer

        try:
            answer = self.with_token(post)
            with self.reading(answer, is_question=False):
                return read(answer.body)
        except RemoteError as error:
            if not sent.begun if answer is None else leaves_no_doubt(answer):
                raise
            end = error
        return self._settle(end, look)

    def with_token(self, post: Callable[[Account], Answer]) -> Answer:
        """Send a request with a token; once more, with a new one, if the server doesn't accept it."""
        token = self._login.token()
        answer = post(token)
        if answer.status == UNAUTHORISED:
            self._login.forget(token)
            answer = post(self._login.token())
        return answer

    @contextmanager
    def reading(self, answer: Answer, *, is_question: bool = True, size: int | None = None) -> Iterator[None]:
        """Raise RemoteError for a refusing answer, and for a WrongShapeError in the block; `size` as of `failure_of`.

        A question can't be wrong: a server that refuses one is unavailable.
        """
        if answer.status != OK:
            failure = failure_of(answer, self.address, self._login.user, self.http.wall_clock, size=size)
            if isinstance(failure, RefusedError) and is_question:
                failure = UnavailableError(str(failure), retry_after=failure.retry_after)
            raise failure
        try:
            yield
        except WrongShapeError as error:
            raise NotAnAPIError(f"{self.address} doesn't answer as a Sticky Pi API does: it answers {error}") from None

    def _warm_up(self, scope: CancelScope | None = None) -> WarmUp:
        return WarmUp(self.http.timeouts.again, (scope or self.http.scope).wait)

    def _greet(self, warm_up: WarmUp, scope: CancelScope | None) -> Answer | None:
        """Ask a server whose workers fail something small first; return the answer if they still fail."""
        if not self._is_cold:
            return None

        def post(token: Account) -> Answer:
            return self.http.post(
                "/get_images/metadata", _GREETING, token, is_question=True, largest=SHORT_ANSWER, scope=scope
            )

        answer = warm_up.insist(lambda: self._note(post))
        return answer if answer.status == FAILED else None

    def _note(self, post: Callable[[Account], Answer]) -> Answer:
        answer = self.with_token(post)
        self._is_cold = is_cold(answer)
        return answer

    def _get_token(self, account: Account) -> str:
        warm_up = self._warm_up()
        answer = warm_up.insist(
            lambda: self.http.post("/get_token", b"", account, is_question=True, largest=SHORT_ANSWER)
        )
        self._is_cold = self._is_cold or warm_up.was_needed
        with self.reading(answer):
            return read_token(answer.body)

    def _settle(self, end: RemoteError, look: Callable[[], list[Row | None]]) -> list[Row]:
        """Return the rows of a request without a clear end, as `tell` says."""
        try:
            found = look()
        except RemoteError:
            found = [None]
        rows = [row for row in found if row is not None]
        if isinstance(end, RefusedError):
            if rows:
                raise IntegrityError(f"{self.address} has some of these already: another client was faster")
            raise end
        if len(rows) < len(found):
            message = f"{end}; it isn't known whether all was stored: ask the server for it before sending it again"
            raise DoubtfulError(message, end, retry_after=SECOND_QUESTION_AFTER)
        return rows


class Login:
    """The token of one user, for any number of threads."""

    def __init__(
        self,
        user: str,
        password: Secret,
        log_in: Callable[[Account], str],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`log_in` gets a token for the user and password, or raises RemoteError.

        `clock` counts seconds and is independent of the time of day, which may be wrong on a trap and corrected later.
        """
        self.user = user
        self._account = Account(Secret(user), password)
        self._log_in = log_in
        self._clock = clock
        self._lock = threading.Lock()
        self._token: Account | None = None
        self._since = 0.0

    def __repr__(self) -> str:
        return f"Login({self.user!r})"

    def token(self) -> Account:
        """Return the credentials of a valid token; where there is none, one thread logs in and the others wait."""
        with self._lock:
            now = self._clock()
            if self._token is None or now - self._since > RENEWED_AFTER:
                self._token = Account.of(self._log_in(self._account))
                self._since = now
            return self._token

    def forget(self, token: Account) -> None:
        """Forget a token that the server didn't accept, unless another thread has a new one already."""
        with self._lock:
            if self._token == token:
                self._token = None


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
