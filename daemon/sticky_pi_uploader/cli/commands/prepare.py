"""`prepare`: make the state folder for a service that has no right to: wait for the image folder, hand it to a user.

It runs as root where others may write, so it follows no link of theirs (`state_dir.folder`, `ownership.handover`).
"""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Callable

from ...config import Config, from_arguments
from ...journal import setup as logs
from ...ownership.handover import Owner, give
from ...service.reload import ReloadableConfig
from ...service.signals import Signals
from ...service.startup import missing_folder, wait_until_present
from ...service.systemd import ServiceManager
from ...state_dir.mounts import prepare_state_dir


class UnknownUserError(Exception):
    """There is no user of that name."""


def add_arguments(parser: ArgumentParser) -> None:
    """Add `--user`."""
    parser.add_argument("--user", metavar="NAME", help="give the folder, and what is in it, to this user")


def run(arguments: Namespace) -> int:
    """Prepare the state folder; an unknown user is wrong usage."""
    try:
        owner = None if arguments.user is None else find_owner(arguments.user)
    except UnknownUserError as error:
        arguments.usage_error(str(error))
    logs.set_up()
    return prepare(lambda: from_arguments(arguments, os.environ, check_url=False), owner)


def find_owner(name: str) -> Owner:
    """Look a user up. Raises UnknownUserError."""
    import pwd

    try:
        user = pwd.getpwnam(name)
    except (KeyError, ValueError):
        raise UnknownUserError(f"there is no user {name!a}") from None
    return Owner(name, user.pw_uid, user.pw_gid)


def prepare(load: Callable[[], Config], owner: Owner | None) -> int:
    """Wait until the image folder is there and the state can be written, then make the state folder and hand it over.

    Returns the exit status: 0, or 75 where a signal ended the wait. Raises UploaderError.
    """
    manager = ServiceManager()
    with Signals() as signals:
        reloadable = ReloadableConfig(load, manager)
        if not wait_until_present(missing_folder, reloadable, signals, manager):
            return os.EX_TEMPFAIL
    config = reloadable.current
    prepare_state_dir(config.state_dir, config.image_dir)
    if owner is not None:
        give(config.state_dir, config.image_dir, owner)
    return os.EX_OK
