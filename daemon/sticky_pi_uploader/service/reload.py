"""Reload the configuration at SIGHUP: read it again, and use it if it is valid.

A service that waits for a folder or a destination waits for that of the new configuration from then on. A service that
works tries the destination at once, and begins a new session if the configuration changed. systemd is told when a
reload begins and ends. The password's file and the certificates are also read again, without SIGHUP, when they change.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from ..config import with_password
from ..config.secret import is_credential
from ..exceptions import ConfigError
from ..journal.events import Kind, log_event
from ..wording import counted
from .trouble import Advice, Trouble

if TYPE_CHECKING:
    from ..config import Config
    from .systemd import ServiceManager

LOOK_EVERY: Final = 5.0
"""Least seconds between two checks of the password's file and the certificates"""

_CHANGED_FILE: Final = "the password's file was changed, but the password from before stays in force"

_Versions = list[tuple[str, tuple[int, ...] | None]]
"""Files with their `file_version`"""


class ReloadableConfig:
    """The configuration in force; a new one replaces it if it is valid."""

    def __init__(
        self,
        load: Callable[[], Config],
        manager: ServiceManager,
        *,
        check: Callable[[Config], object] = lambda _: None,
        environ: Mapping[str, str] = os.environ,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Load it; `check` raises ConfigError for one that can be loaded but not be used. Raises ConfigError."""
        self._load = load
        self._manager = manager
        self._check = check
        self._environ = environ
        self._ends_wait = False
        self._monotonic = monotonic
        self._looked_at = -math.inf
        self._seen: _Versions = []
        self._read: _Versions = []
        self._refusals: dict[str, Trouble] = {}
        self.current = load()

    @property
    def refusals(self) -> list[Trouble]:
        """The reasons why the last reload, or the last change of a file, was refused; empty if it wasn't."""
        return list(self._refusals.values())

    def reload(self) -> bool:
        """Read the configuration again, and keep the present one if the new one can't be used.

        Returns whether the configuration changed. The reload isn't over for systemd until the service is ready again.
        """
        self._manager.reloading()
        config = self._try(self._load, "the last reload was refused, so the configuration from before stays in force")
        if config is None:
            return False
        self._refusals.clear()
        has_changed = config != self.current
        self._take(config, "" if has_changed else ": nothing has changed")
        return has_changed

    def take_changed_files(self) -> bool:
        """Read the password and the certificates again if their files changed; return whether their contents did.

        If so, a new session has to begin. A changed file is read once two checks find it the same: until then, somebody
        may be writing it.
        """
        api, now = self.current.api, self._monotonic()
        if api.server is None or now - self._looked_at < LOOK_EVERY:
            return False
        self._looked_at = now
        before, self._seen = self._seen, [(file, file_version(file)) for file in api.files_to_read]
        if self._seen != before or self._seen == self._read:
            return False
        self._read = self._seen
        config = self._try(self._with_files_read_again, _CHANGED_FILE)
        if config is None:
            return False
        self._refusals.pop(_CHANGED_FILE, None)
        if config == self.current:
            return False
        self._take(config, ": the password or the certificates have changed")
        return True

    def take_end_of_wait(self) -> bool:
        """Return whether the destination is to be tried at once; True once for each reload."""
        ends_wait, self._ends_wait = self._ends_wait, False
        return ends_wait

    def _with_files_read_again(self) -> Config:
        config = with_password(self.current, self._environ)
        return config._replace(api=config.api.with_certificates())

    def _try(self, load: Callable[[], Config], refusal: str) -> Config | None:
        """Load a configuration; if it can't be used, log the reasons, add them to `refusals`, and return None."""
        try:
            config = load()
            self._check(config)
        except ConfigError as error:
            for line in (*error.problems, "the configuration was not reloaded: the one from before stays in force"):
                log_event(Kind.RELOAD_FAILED, line)
            self._refusals[refusal] = _trouble(refusal, error)
            return None
        return config

    def _take(self, config: Config, what: str) -> None:
        if is_credential(config.api.password_file, self._environ):
            what += "; a password in /etc/credstore is read again at a restart"
        log_event(Kind.RELOADED, f"the configuration was reloaded{what}")
        self.current = config
        # Somebody may have corrected the mistake for which the destination takes no pictures.
        self._ends_wait = True


def _trouble(refusal: str, error: ConfigError) -> Trouble:
    first, *others = error.problems
    more = f", and {counted(len(others), 'more mistake')}" if others else ""
    return Trouble(f"{refusal}: {first}{more}", Advice.MEND_CONFIG)


def file_version(file: str | None) -> tuple[int, ...] | None:
    """Return numbers that change with a file's contents and rights; None if there is no file."""
    try:
        status = os.stat(file or "")
    except OSError:
        return None
    # The ctime also changes with the owner, the mode and the access list.
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
