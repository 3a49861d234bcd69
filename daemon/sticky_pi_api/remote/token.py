"""Get the token of an account at a server with its password, keep it for all requests, and renew it in time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from sticky_pi_api.transport.credentials import Account, Secret

RENEWED_AFTER: Final = 12 * 3600.0
"""Time for which a token is used, in seconds; servers accept it for 24 hours"""


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
