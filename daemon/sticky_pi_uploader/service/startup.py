"""Prepare a session: wait for missing folders, make and lock the folders, resume interrupted uploads."""

from __future__ import annotations

import errno
import math
import os
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from ..config import url_not_set
from ..exceptions import NoSpaceError, StateError
from ..image_dir.pending_removal import is_there
from ..journal.events import Kind, log_event
from ..ownership.run_as_owner import work_as_owner
from ..state_dir.disk import READ_ONLY, reason, trial
from ..state_dir.folder import mark
from ..state_dir.mounts import image_dir_problem, nearest, prepare_state_dir, state_dir_problem
from ..state_dir.obstacles import clear_obstacle_of_lock, clear_obstacles
from ..state_dir.reserved_space import Reserve
from ..state_dir.trusted_path import find_foreign, split
from ..wording import counted
from .reload import file_version
from .trouble import Advice, Trouble

if TYPE_CHECKING:
    from ..config import Config
    from ..outbox import Outbox
    from ..state_dir.lock import Locks
    from .reload import ReloadableConfig
    from .signals import Signals
    from .systemd import ServiceManager

_DISK_ERRORS: Final = (errno.EROFS, errno.EIO, errno.EUCLEAN, errno.ENXIO, errno.ENODEV, errno.ESTALE)
"""Errors of the trial file that are waited out; a full disk was noticed before, and any other error ends the start"""

LOOK_EVERY: Final = 5.0
"""Seconds between two checks of the missing folder or destination"""


def _missing_folder(config: Config) -> str | None:
    """Return why the image folder or the place of the state folder can't be used; None where they can."""
    return image_dir_problem(config.image_dir) or state_dir_problem(config.state_dir) or _unwritable(config.state_dir)


def _missing(config: Config) -> str | None:
    """Return why the service can't begin, for want of a destination or a writable folder; None if it can."""
    if not config.api.url:
        return url_not_set(config)
    return _missing_folder(config)


def _folders(config: Config) -> tuple[str, str]:
    return config.image_dir, config.state_dir


def wait_until_present(
    config: ReloadableConfig,
    signals: Signals,
    manager: ServiceManager,
    *,
    before_waiting: Callable[[], None],
    patience: float,
    has_worked: bool,
) -> int | None:
    """Wait until a destination is set and the folders can be written; log each lack once, and tell systemd.

    Meanwhile the configuration is read again at SIGHUP, and when its file changes. `before_waiting` is called before
    each wait for another lack. Returns None once work can begin, otherwise the exit status: 0 if the service was
    stopped, and 75 if systemd has to restart it. It has to once a folder is present: only at a start does root make the
    state folder, and the sandbox mount the disk. It also has to after `patience` seconds if the sandbox may not show a
    disk that returned: a read-only disk, or any disk if the service `has_worked`.
    """
    told, read, are_prepared = None, file_version(config.current.file), _missing_folder(config.current) is None
    folders, ends_at = _folders(config.current), math.inf
    while not signals.stop:
        problem = _missing(config.current)
        if problem is None:
            if told is None or not manager.listens or (are_prepared and folders == _folders(config.current)):
                return None
            log_event(Kind.STARTS_ANEW, "the folders can be used now: systemd starts the service anew")
            return os.EX_TEMPFAIL
        if problem != told:
            told = problem
            ends_at = time.monotonic() + (patience if has_worked or READ_ONLY in problem else math.inf)
            before_waiting()
            log_event(Kind.WAITING, f"{problem}; waiting for it", reason=problem)
        elif time.monotonic() >= ends_at and manager.listens:
            text = f"nothing came back within {patience:g} s: systemd starts the service anew"
            log_event(Kind.GAVE_UP_WAITING, text, folder=config.current.image_dir)
            return os.EX_TEMPFAIL
        _tell(manager, config, problem)
        manager.ready()
        manager.ping()
        signals.wait(min(LOOK_EVERY, manager.next_ping))
        before, read = read, file_version(config.current.file)
        if signals.take_reload() or read != before:
            config.reload()
    return os.EX_OK


def _tell(manager: ServiceManager, config: ReloadableConfig, problem: str) -> None:
    waiting = Trouble(f"{problem}; waiting for it", Advice.WAIT)
    troubles = [waiting, *config.refusals]
    manager.say("; ".join(trouble.what for trouble in troubles))
    manager.record(config.current.state_dir, troubles)


def prepare_folders(config: Config, locks: Locks) -> None:
    """Make the state folder, and lock it and the image folder; root continues as their owner. Raises UploaderError."""
    removes = config.retention.keep_days is not None
    work_as_owner(config.state_dir, config.image_dir, sends=True, removes=removes, gives=True)
    prepare_state_dir(config.state_dir, config.image_dir)
    # In a folder such as /tmp, another user may have made it first.
    work_as_owner(config.state_dir, config.image_dir, sends=True, removes=removes)
    reserve = Reserve(config.state_dir)
    clear_obstacle_of_lock(config.state_dir)
    try:
        locks.take(config.image_dir, config.state_dir)
    except NoSpaceError:
        # There is no lock file yet, so the reserve belongs to no other process.
        reserve.release_if_needed()
        locks.take(config.image_dir, config.state_dir)
    # Only with the lock: before, the reserve may belong to another process.
    reserve.release_if_needed()
    if (problem := state_dir_problem(config.state_dir)) is not None:
        raise StateError(problem)
    clear_obstacles(config.state_dir)
    mark(config.state_dir)


def resume(outbox: Outbox, image_dir: str, url: str) -> None:
    """Have pictures sent again that were being sent when the last run ended, or were sent to another destination."""
    interrupted = outbox.queue.recover()
    if interrupted:
        what = counted(interrupted, "picture was being sent", "pictures were being sent")
        log_event(Kind.RESUMED, f"{what} when the last run ended: asked for again", count=interrupted)
    changed = outbox.destinations.change(url, partial(is_there, image_dir))
    if changed:
        what = counted(changed, "picture that is still here is", "pictures that are still here are")
        text = f"the destination is {url} now: {what} due again"
        log_event(Kind.DESTINATION_CHANGED, text, destination=url, count=changed)


def _unwritable(state_dir: str) -> str | None:
    """Return why no file can be written to the disk of the state folder; None if one can."""
    there = nearest(os.path.realpath(state_dir))
    try:
        if os.geteuid() == 0 and find_foreign(split(there)) is not None:
            return None  # root makes nothing where another user can
        trial(there)
    except OSError as error:
        if error.errno in _DISK_ERRORS:
            return f"the state folder {state_dir} can't be written: {reason(error, state_dir)}"
    return None
