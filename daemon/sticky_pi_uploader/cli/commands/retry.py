"""`retry`: ask in the outbox that pictures be tried again at once; a running service finds the request there."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

from ...exceptions import StateError
from ...models import Picture, State
from ...outbox import Outbox, outbox_path
from ...upload.backoff import LONGEST_WAIT
from ..find_picture import find, why_unknown
from ..formatting import pictures
from ..state_reader import config_as_owner, sudo_advised
from ..terminal import complain, print_lines

ROWS_PER_COMMIT: Final = 500
"""Pictures recorded in one transaction: each waits for the disk, and keeps a running service waiting meanwhile"""

_UNFINISHED: Final = (State.PENDING, State.CONFLICT, State.REJECTED, State.LOST)


def add_arguments(parser: ArgumentParser) -> None:
    """Add the files and `--all`."""
    parser.add_argument("files", nargs="*", metavar="FILE", help="a picture: any path of it, or its name")
    parser.add_argument("--all", action="store_true", help="all that aren't uploaded")


def run(arguments: Namespace) -> int:
    """Retry the pictures; the exit status is 1 where one isn't recorded."""
    if not arguments.files and not arguments.all:
        arguments.usage_error("say which pictures, or --all")
    config = config_as_owner(arguments, gives=True)
    with sudo_advised():
        outcome = retry(config.state_dir, config.image_dir, arguments.files, everything=arguments.all)
    if outcome is None:
        print_lines(["Nothing to retry: no picture has been taken in yet."])
        return 0
    retried, unknown = outcome
    print_lines([f"{pictures(retried).capitalize()} to be looked at again."])
    for file in unknown:
        complain(f"{file}: {why_unknown(config, file)}")
    return 1 if unknown else 0


def retry(state_dir: str, image_dir: str, files: Sequence[str], *, everything: bool) -> tuple[int, list[str]] | None:
    """Have the pictures called `files`, or all, tried again, and end the destination's wait.

    Returns the number of pictures, and the files of which nothing is recorded; None where there is no outbox. Raises
    StateError where the outbox can't be written.
    """
    path = outbox_path(state_dir)
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StateError(f"the outbox {path} can't be used: {error.strerror}") from error
    with Outbox(path, longest_wait=LONGEST_WAIT) as outbox:
        found = {file: find(outbox, image_dir, file) for file in files}
        chosen = {picture.id: picture for picture in _chosen(outbox, found.values(), everything=everything)}
        remaining, retried = iter(chosen.values()), 0
        while batch := list(islice(remaining, ROWS_PER_COMMIT)):
            with outbox.queue.together():
                retried += sum(map(outbox.queue.retry, batch))
        outbox.destinations.end_wait()
    return retried, [file for file, pictures in found.items() if not pictures]


def _chosen(outbox: Outbox, named: Iterable[list[Picture]], *, everything: bool) -> Iterator[Picture]:
    for found in named:
        yield from found
    if everything:
        # A pending picture without a wait is due anyway.
        yield from (each for each in outbox.pictures(_UNFINISHED) if each.state != State.PENDING or each.not_before)
