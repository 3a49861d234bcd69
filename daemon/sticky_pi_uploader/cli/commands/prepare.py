"""`prepare`: make the state folder for a service that has no right to, and hand it to the service's user.

It runs as root where others may write, so it follows no link of theirs (`state_dir.folder`, `ownership.handover`).
"""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace

from ...config import Config, from_arguments
from ...journal import setup as logs
from ...ownership.handover import Owner, give
from ...state_dir.mounts import image_dir_problem, prepare_state_dir, state_dir_problem
from ..terminal import complain


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
    """Make the state folder, and hand it over.

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
    return os.EX_OK


def find_owner(name: str) -> Owner:
    """Look a user up. Raises KeyError, and ValueError for an impossible name."""
    import pwd

    user = pwd.getpwnam(name)
    return Owner(name, user.pw_uid, user.pw_gid)
