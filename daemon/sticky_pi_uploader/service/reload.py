"""What a SIGHUP does: read the configuration again, and take it if it can be used.

While the service waits for a folder or a destination, it goes on waiting for those of the new configuration. While it
works, the destination is tried at once; a new session begins if anything changed. systemd hears of begin and end.

The password's file and the certificates are also read again, without a SIGHUP, when one of these files changes.
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
"""Seconds between two looks at the password's file and the certificates, at least"""

_CHANGED_FILE: Final = "the password's file was changed, but the password from before stays in force"

_Versions = list[tuple[str, tuple[int, ...] | None]]
"""Files, and what changes whenever they do"""


class ReloadableConfig:
    """The configuration in force, which a new one replaces if it can be used."""

    def __init__(
        self,
        load: Callable[[], Config],
        manager: ServiceManager,
        *,
        check: Callable[[Config], object] = lambda _: None,
        environ: Mapping[str, str] = os.environ,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Load it; `check` raises ConfigError for one that can be loaded and yet not replace it. Raises ConfigError."""
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
        """Why the last reload was refused, or the last change of a file; empty if they weren't."""
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
        """Read the password and the certificates again if one of their files changed; return whether they are others.

        If so, a new session has to begin. A file is read once two looks find it the same: nobody writes it any more.
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
        """Return, once for each reload, that the destination is to be tried at once."""
        ends_wait, self._ends_wait = self._ends_wait, False
        return ends_wait

    def _with_files_read_again(self) -> Config:
        config = with_password(self.current, self._environ)
        return config._replace(api=config.api.with_certificates())

    def _try(self, load: Callable[[], Config], refusal: str) -> Config | None:
        """Return a configuration that can be used; None, with the reasons in the log and in `refusals`, for another."""
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
        # Somebody may have mended just what keeps the destination from taking pictures.
        self._ends_wait = True


def _trouble(refusal: str, error: ConfigError) -> Trouble:
    first, *others = error.problems
    more = f", and {counted(len(others), 'more mistake')}" if others else ""
    return Trouble(f"{refusal}: {first}{more}", Advice.MEND_CONFIG)


def file_version(file: str | None) -> tuple[int, ...] | None:
    """Return what changes whenever a file or the rights to it do; None where it isn't there."""
    try:
        status = os.stat(file or "")
    except OSError:
        return None
    # The last one changes with the owner, the mode and the access list, too.
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
