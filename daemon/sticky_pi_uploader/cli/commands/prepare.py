"""Makes the state folder for a service that has no right to: waits for the image folder, and gives it to a user.

It runs as root where others may write, so it follows no link of theirs (`state_dir`, `giving`).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from ...ownership.handover import Owner, give
from ...service.signals import Signals
from ...service.startup import Readiness
from ...service.systemd import ServiceManager
from ...state_dir.mounts import prepare_state_dir

if TYPE_CHECKING:
    from ...config import Config


class UnknownUserError(Exception):
    """There is no user of that name."""


def owner(name: str) -> Owner:
    """Look a user up. Raises UnknownUserError."""
    import pwd

    try:
        user = pwd.getpwnam(name)
    except (KeyError, ValueError):
        raise UnknownUserError(f"there is no user {name!a}") from None
    return Owner(name, user.pw_uid, user.pw_gid)


def prepare(load: Callable[[], Config], to: Owner | None) -> int:
    """Wait until the image folder is there and the state can be written, then make its folder and give it away.

    Returns the exit status: 0, or 75 where it was told to stop before. Raises UploaderError.
    """
    with Signals() as signals:
        readiness = Readiness(load, signals, ServiceManager(), with_destination=False)
        config = readiness.wait(load())
    if config is None:
        return os.EX_TEMPFAIL
    prepare_state_dir(config.state_dir, config.image_dir)
    if to is not None:
        give(config.state_dir, config.image_dir, to)
    return os.EX_OK
