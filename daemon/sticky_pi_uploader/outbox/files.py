"""The outbox's file, and those of earlier ones that were put aside as this release couldn't use them."""

from __future__ import annotations

import os
import stat
import time
from contextlib import suppress
from typing import Final, NamedTuple

from sticky_pi_api.filesystem.safe_open import BESIDE, name_of

from ..exceptions import OutboxDamagedError, OutboxNewerError, StateError

_DAMAGED: Final = ".damaged-"
_NEWER: Final = ".newer-"


class Aside(NamedTuple):
    """An outbox that was put aside."""

    path: str
    """where it lies now"""
    why: OutboxDamagedError


def outbox_path(state_dir: str) -> str:
    """Say where the outbox of a state folder lies."""
    return os.path.join(state_dir, "outbox.db")


def put_aside(path: str, why: OutboxDamagedError) -> Aside:
    """Rename an outbox that can't be used; it is kept for whoever wants to know.

    Raises StateError where it can't be renamed.
    """
    label = _NEWER if isinstance(why, OutboxNewerError) else _DAMAGED
    aside = stamped = f"{path}{label}{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
    others = 1
    while os.path.lexists(aside):
        others += 1
        aside = f"{stamped}-{others}"
    try:
        for suffix in ("", *BESIDE):
            if os.path.lexists(path + suffix):
                os.replace(path + suffix, aside + suffix)
    except OSError as failure:
        raise StateError(f"{why}, and can't be put aside: {failure.strerror}") from failure
    return Aside(aside, why)


def require_files(path: str) -> None:
    """See that SQLite finds regular files, or none yet: it would follow a link, and wait for a pipe.

    Raises StateError.
    """
    for each in (path, *(path + suffix for suffix in BESIDE)):
        try:
            mode = os.stat(each, follow_symlinks=False).st_mode
        except OSError:
            # What SQLite says of that is said in its place.
            continue
        if not stat.S_ISREG(mode):
            raise StateError(f"the outbox can't be used: {each} is {name_of(mode)}, not a file")


def earlier_ones(path: str) -> list[str]:
    """List the outboxes that were put aside for the one at `path`, in the order of the times in their names."""
    folder, name = os.path.split(path)
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.name.startswith((name + _DAMAGED, name + _NEWER))]
    found = [each for each in names if not each.endswith(BESIDE)]
    return [os.path.join(folder, each) for each in sorted(found, key=lambda each: each.partition("-")[2])]


def remove_earlier(earlier: str) -> None:
    """Remove an outbox that was put aside; where that can't be, it is no matter."""
    for suffix in (*BESIDE, ""):
        with suppress(OSError):
            os.unlink(earlier + suffix)
