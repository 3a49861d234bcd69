"""`prepare`: make the state folder for a service that has no right to, and hand it to the service's user.

It runs as root where others may write, so it follows no link of theirs (`state_dir.folder`, `ownership.handover`).
"""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from contextlib import suppress

from sticky_pi_api.filesystem.mounts import is_within

from ....config import Config, from_arguments
from ....exceptions import StateError
from ....journal import setup as logs
from ....ownership.handover import Owner, give
from ....state_dir.folder import make
from ....state_dir.mounts import image_dir_problem, is_on_root_disk, missing_mount, prepare_state_dir, state_dir_problem
from ...output.terminal import complain


def add_arguments(parser: ArgumentParser) -> None:
    """Add `--user`."""
    parser.add_argument("--user", metavar="NAME", help="give the folder and its contents to this user")


def run(arguments: Namespace) -> int:
    """Prepare the state folder; an unknown user is wrong usage."""
    owner = None
    if arguments.user is not None:
        try:
            owner = find_owner(arguments.user)
        except (KeyError, ValueError):
            arguments.usage_error(f"there is no user {arguments.user!a}")
    logs.set_up()
    return prepare(from_arguments(arguments, os.environ, check_url=False), owner)


def prepare(config: Config, owner: Owner | None) -> int:
    """Make the state folder, and hand it over, with the folder of a store on a mounted disk.

    Returns the exit status: 0, 75 where the image folder isn't there, or 74 where its disk takes no file. The journal
    isn't told of the last two: the service, which starts next, says what it waits for. Raises UploaderError.
    """
    status, problem = os.EX_TEMPFAIL, image_dir_problem(config.image_dir)
    if problem is None:
        status, problem = os.EX_IOERR, state_dir_problem(config.state_dir)
    if problem is not None:
        if not logs.stderr_is_journal():
            complain(problem)
        return status
    prepare_state_dir(config.state_dir, config.image_dir)
    if owner is not None:
        give(config.state_dir, config.image_dir, owner)
        _make_store(config, owner)
    return os.EX_OK


def _make_store(config: Config, owner: Owner) -> None:
    """Make a store's own folder where a disk is mounted around it, and give it to a user.

    On the system's own disk, it would take the pictures while the store's disk isn't mounted. Where it can't be made,
    the service says so as it opens the store.
    """
    store = config.api.store
    if store is None or os.path.lexists(store) or is_within(store, config.state_dir):
        return
    if missing_mount(store) is None and not is_on_root_disk(os.path.dirname(store)):
        with suppress(OSError, StateError):
            make(store, config.image_dir, with_parents=False)
            give(store, config.image_dir, owner)


def find_owner(name: str) -> Owner:
    """Look a user up. Raises KeyError, and ValueError for an impossible name."""
    import pwd

    user = pwd.getpwnam(name)
    return Owner(name, user.pw_uid, user.pw_gid)
