"""What the state says, as plain data that JSON can hold: `status` and `list`. Nothing here writes or locks."""

from __future__ import annotations

import math
import os
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from ..exceptions import NoSpaceError, OutboxDamagedError, StateError
from ..intake.scanner import Scanner
from ..intake.stranded_files import WHY, left_over
from ..models import Destination, Picture, State
from ..outbox import OutboxReader, outbox_path
from ..state_dir.disk import obstacle, room
from ..state_dir.lock import is_held
from ..state_dir.mounts import has_failed, image_dir_problem, nearest
from ..state_dir.pending_removal import hidden
from ..state_dir.privileges import was_root

Warn = Callable[[str], None]
"""Takes one line for the people who look on: what is wrong with the state."""

T = TypeVar("T")


@contextmanager
def open_state(state_dir: str, warn: Warn) -> Iterator[OutboxReader | None]:
    """Open the outbox in `state_dir` to read it; None where there is none yet, or nothing of it can be read.

    A damaged one is warned about. Raises StateError where it can't be read otherwise.
    """
    reader = _open(outbox_path(state_dir), warn)
    if reader is None:
        yield None
        return
    with reader, sudo_named():
        yield reader


def status(
    reader: OutboxReader | None,
    warn: Warn,
    *,
    image_dir: str,
    state_dir: str,
    url: str,
    store: str | None = None,
    own: Collection[str] = (),
    config_file: str | None,
    least_free: Callable[[int], int] | None = None,
) -> dict[str, Any]:
    """Tell how things stand; what can't be read is null.

    `store` is the destination's folder, where that is an embedded store; `own` are the folders that the uploader itself
    writes to. `least_free` says how many bytes are to be
    free on a disk of so many, where anybody cares for that.
    """
    return {
        "config_file": config_file,
        "image_dir": image_dir,
        "state_dir": state_dir,
        "image_dir_problem": image_dir_problem(image_dir) or failed_disk(image_dir),
        "state_dir_problem": _write_problem("state folder", state_dir),
        "store_problem": None if store is None else _write_problem("store", store),
        "running": is_held(state_dir),
        "counts": _counts(reader, warn),
        "oldest_pending": ask(reader, OutboxReader.oldest_pending, warn, None),
        "last_upload": utc(ask(reader, OutboxReader.last_upload, warn, None)),
        "destination": _destination(reader, url, warn),
        "wrong_copies": _wrong_copies(reader, image_dir, warn),
        "left_over": _left_over(image_dir, own),
        "disk": _disk(image_dir, least_free),
    }


def pictures(reader: OutboxReader, states: Iterable[State], warn: Warn) -> Iterator[Picture]:
    """Yield the pictures in these states (none named: in any), one at a time, by datetime and path.

    Where the outbox turns out to be damaged, the others that can be read follow, in the order of their coming.
    """
    wanted = frozenset(states)
    shown = set[int]()
    try:
        while True:
            try:
                for picture in reader.pictures(wanted):
                    if picture.id not in shown:
                        shown.add(picture.id)
                        yield picture
            except StateError:
                if not reader.renew():
                    raise
            else:
                if not reader.renew():
                    return
    except OutboxDamagedError as error:
        warn_of_damage(warn, error)
        left = (picture for picture in reader.salvage() if picture.id not in shown)
        yield from (picture for picture in left if not wanted or picture.state in wanted)


def picture_data(picture: Picture, image_dir: str) -> dict[str, Any]:
    """Tell what is known of a picture, its metadata and history apart."""
    return {
        "path": os.path.join(image_dir, picture.path),
        "device": picture.device,
        "datetime": picture.datetime,
        "md5": picture.md5,
        "state": picture.state.value,
        "attempts": picture.attempts,
        "not_before": utc(picture.not_before),
        "reason": picture.reason,
        "receipt_md5": picture.receipt_md5,
        "uploaded_at": utc(picture.uploaded_at),
        "removed_at": utc(picture.removed_at),
        "suspect": picture.suspect,
    }


def finite(value: Any) -> Any:
    """Give what JSON can hold: infinities and NaN, which a damaged header may claim, become null."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def utc(seconds: float | None) -> str | None:
    """Write a Unix time as YYYY-MM-DDTHH:MM:SSZ; None for None, and for what is no time."""
    if seconds is None:
        return None
    try:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
    except (OverflowError, TypeError, ValueError, OSError):
        return None


def ask(reader: OutboxReader | None, question: Callable[[OutboxReader], T], warn: Warn, unknown: T) -> T:
    """Ask the outbox something; `unknown` where there is none, or where it is too damaged to tell."""
    if reader is None:
        return unknown
    try:
        return calmly(reader, question)
    except OutboxDamagedError as error:
        warn_of_damage(warn, error)
        return unknown


def calmly(reader: OutboxReader, question: Callable[[OutboxReader], T]) -> T:
    """Ask the outbox something, and once more where a writer came in between: what was read then may be wrong."""
    while True:
        try:
            answer = question(reader)
        except StateError:
            if not reader.renew():
                raise
        else:
            if not reader.renew():
                return answer


def warn_of_damage(warn: Warn, error: OutboxDamagedError) -> None:
    """Say that the outbox is damaged, and that not all of it is lost."""
    warn(f"{error}; what can still be read of it is shown")


@contextmanager
def sudo_named() -> Iterator[None]:
    """Name sudo where the state can't be used and more rights might help."""
    try:
        yield
    except OutboxDamagedError:
        raise
    except StateError as error:
        if os.geteuid() == 0 or was_root():
            raise
        raise StateError(f"{error}; try again with sudo") from error


def _open(path: str, warn: Warn) -> OutboxReader | None:
    with sudo_named():
        try:
            try:
                return OutboxReader.open_readonly(path)
            except NoSpaceError as error:
                warn(f"{error}; what is shown may not be the latest")
                return OutboxReader.open_as_it_lies(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise StateError(f"the outbox {path} can't be read: {error.strerror}") from error
        except OutboxDamagedError as error:
            warn_of_damage(warn, error)
            try:
                return OutboxReader.open_damaged(path)
            except StateError:
                return None


def _counts(reader: OutboxReader | None, warn: Warn) -> dict[str, int]:
    counts = ask(reader, OutboxReader.counts, warn, None)
    if counts is None:
        counts = Counter(picture.state for picture in (reader.salvage() if reader else ()))
    return {state.value: counts.get(state, 0) for state in State}


def failed_disk(image_dir: str) -> str | None:
    """Say that the camera can't write any more, where the kernel has made its disk read-only after an error."""
    return f"the disk of {image_dir} was made read-only after an error on it" if has_failed(image_dir) else None


def _write_problem(what: str, folder: str) -> str | None:
    why = obstacle(nearest(folder))
    return None if why is None else f"the {what} {folder} can't be written: {why}"


def _disk(folder: str, least_free: Callable[[int], int] | None) -> dict[str, int | None]:
    found = room(folder)
    least = None if found is None or least_free is None else least_free(found.total)
    return {
        "free_bytes": found and found.free,
        "total_bytes": found and found.total,
        "least_free_bytes": least,
        "free_inodes": found and found.free_inodes,
        "total_inodes": found and found.inodes,
        "least_free_inodes": None if found is None or least is None else found.least_inodes(least),
    }


def _wrong_copies(reader: OutboxReader | None, image_dir: str, warn: Warn) -> list[dict[str, str]]:
    """Tell whose copy at the destination was found missing, or another one, and what was found."""
    found = ask(reader, lambda reader: list(reader.wrong_copies()), warn, list[Picture]())
    return [{"path": os.path.join(image_dir, picture.path), "what": str(picture.reason)} for picture in found]


def _left_over(image_dir: str, own: Collection[str]) -> list[dict[str, str]]:
    """Tell which files have to stay on their way out, and why."""
    found = left_over(Scanner(image_dir, own))
    return [{"path": os.path.join(image_dir, hidden(path)), "what": WHY} for path in found]


def _destination(reader: OutboxReader | None, url: str, warn: Warn) -> dict[str, Any]:
    destination = ask(reader, lambda reader: reader.destination(url), warn, Destination(url))
    return {
        "url": url,
        "state": destination.state.value,
        "reason": destination.reason,
        "retry_at": utc(destination.retry_at),
    }
