"""Waits for what the service can't begin without: a destination, the image folder, a state folder to write to."""

from __future__ import annotations

import errno
import logging
import math
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from ..config import url_not_set
from ..exceptions import ConfigError
from ..journal.events import Kind, about
from ..state_dir.disk import reason, trial
from ..state_dir.mounts import image_dir_problem, nearest, state_dir_problem
from ..state_dir.trusted_path import find_foreign, split
from ..upload.client_factory import client_opener
from .signals import Signals
from .systemd import ServiceManager

if TYPE_CHECKING:
    from ..config import Config

log = logging.getLogger(__name__)

_DISK_ERRORS: Final = (errno.EROFS, errno.EIO, errno.EUCLEAN, errno.ENXIO, errno.ENODEV, errno.ESTALE)
"""Which errors of a trial are waited out: for space was asked before, and any other ends the start with its reason"""

GLANCE: Final = 5.0
"""Seconds between two looks for what isn't there."""


class Readiness(NamedTuple):
    """What is waited for, and who is told."""

    load: Callable[[], Config]
    """reads the configuration"""
    signals: Signals
    manager: ServiceManager
    with_destination: bool = True
    """whether a destination is needed, too"""
    before_waiting: Callable[[], None] = lambda: None
    """is called where something is missing"""

    def wait(self, config: Config, *, patience: float = math.inf) -> Config | None:
        """Wait until everything is there, `patience` seconds at most; say what is missing, once.

        Returns the configuration by then, which is read again when its file changes; None where it was told to stop,
        or the time is over.
        """
        told, ends_at, read = None, time.monotonic() + patience, _version(config.file)
        while not self.signals.stop and time.monotonic() < ends_at:
            problem = self._problem(config)
            if problem is None:
                return config
            if problem != told:
                told = problem
                self.before_waiting()
                log.warning("%s; waiting for it", problem, extra=about(Kind.WAITING, reason=problem))
                self.manager.say(f"{problem}; waiting for it")
            self.manager.reloaded()
            self.manager.ping()
            self.signals.wait(min(GLANCE, self.manager.next_ping))
            before, read = read, _version(config.file)
            if self.signals.take_reload() or read != before:
                config = self.reload(config) or config
        return None

    def _problem(self, config: Config) -> str | None:
        if self.with_destination and not config.api.url:
            return url_not_set(config)
        wrong = image_dir_problem(config.image_dir) or state_dir_problem(config.state_dir)
        return wrong if wrong or not self.with_destination else _failed(config.state_dir)

    def reload(self, config: Config) -> Config | None:
        """Read the configuration again, and the files that it names; None where the one from before has to stay."""
        self.manager.reloading()
        try:
            changed = self.load()
            if self.with_destination:
                client_opener(changed)
        except ConfigError as error:
            extra = about(Kind.RELOAD_FAILED)
            for problem in error.problems:
                log.error("%s", problem, extra=extra)  # noqa: TRY400 - no traceback for people
            log.error("the configuration was not reloaded: the one from before stays in force", extra=extra)  # noqa: TRY400
            return None
        what = "" if changed != config else ": nothing has changed"
        log.info("the configuration was reloaded%s", what, extra=about(Kind.RELOADED))
        return changed


def _failed(state_dir: str) -> str | None:
    """Say why the disk of the state folder takes no file though all looks as if it did; None if it does."""
    there = nearest(os.path.realpath(state_dir))
    try:
        if os.geteuid() == 0 and find_foreign(split(there)) is not None:
            return None  # root makes nothing where another user can
        trial(there)
    except OSError as error:
        if error.errno in _DISK_ERRORS:
            return f"the state folder {state_dir} can't be written: {reason(error, state_dir)}"
    return None


def _version(file: str | None) -> tuple[int, ...] | None:
    """Return what changes whenever a file does; None where it isn't there."""
    try:
        status = os.stat(file or "")
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
