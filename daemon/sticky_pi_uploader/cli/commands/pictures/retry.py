"""`retry`: ask in the outbox that pictures be tried again at once; a running service finds the request there."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Final, TypeVar

from ....config import Config
from ....exceptions import StateError
from ....models import Picture, State
from ....outbox import Outbox, outbox_path
from ....upload.backoff import LONGEST_WAIT
from ...output.formatting import pictures
from ...output.terminal import complain, print_lines
from ...state_reader import config_as_owner, sudo_advised
from .find_picture import find, why_unknown

T = TypeVar("T")

_ROWS_PER_COMMIT: Final = 500
"""Pictures recorded in one transaction: each waits for the disk, and keeps a running service waiting meanwhile"""

_UNFINISHED: Final = (State.PENDING, State.CONFLICT, State.REJECTED, State.LOST)


def add_arguments(parser: ArgumentParser) -> None:
    """Add the files and `--all`."""
    parser.add_argument("files", nargs="*", metavar="FILE", help="a picture: any path to it, or its name")
    parser.add_argument("--all", action="store_true", help="all pictures that aren't uploaded")


def run(arguments: Namespace) -> int:
    """Retry the pictures; the exit status is 1 where one isn't recorded."""
    if not arguments.files and not arguments.all:
        arguments.usage_error("say which pictures, or --all")
    config = config_as_owner(arguments, gives=True)
    with sudo_advised():
        outcome = retry(
            config.state_dir, config.image_dir, arguments.files, everything=arguments.all, is_on_hold=config.hold.is_on
        )
    if outcome is None:
        print_lines(["Nothing to retry: no picture has been taken in yet."])
        return 0
    retried, unknown = outcome
    print_lines([f"{pictures(retried).capitalize()} to be looked at again."])
    return complain_of_unknown(config, unknown)


def retry(
    state_dir: str, image_dir: str, files: Sequence[str], *, everything: bool, is_on_hold: bool = False
) -> tuple[int, list[str]] | None:
    """Have the pictures called `files`, or all, tried again, in spite of a hold, and end the destination's wait.

    Returns the number of pictures, and the files of which nothing is recorded; None where there is no outbox. Raises
    StateError where the outbox can't be written.
    """
    with open_to_change(state_dir) as outbox:
        if outbox is None:
            return None
        chosen, unknown = find_all(outbox, image_dir, files)
        if everything:
            # A pending picture without a wait is due anyway, unless a hold may keep it back.
            unfinished = outbox.pictures(_UNFINISHED)
            waiting = (each for each in unfinished if is_on_hold or each.state != State.PENDING or each.not_before)
            chosen |= {picture.id: picture for picture in waiting}
        retried = change(outbox, chosen.values(), outbox.queue.retry)
        outbox.destinations.end_wait()
    return retried, unknown


@contextmanager
def open_to_change(state_dir: str) -> Iterator[Outbox | None]:
    """Open the outbox in `state_dir` for a command that changes it; None where there is none. Raises StateError."""
    path = outbox_path(state_dir)
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        yield None
        return
    except OSError as error:
        raise StateError(f"the outbox {path} can't be used: {error.strerror}") from error
    with Outbox(path, longest_wait=LONGEST_WAIT) as outbox:
        yield outbox


def find_all(outbox: Outbox, image_dir: str, files: Sequence[str]) -> tuple[dict[int, Picture], list[str]]:
    """Return the pictures called `files`, by id, and the files without a record."""
    found = {file: find(outbox, image_dir, file) for file in files}
    chosen = {picture.id: picture for pictures in found.values() for picture in pictures}
    return chosen, [file for file, pictures in found.items() if not pictures]


def change(outbox: Outbox, chosen: Iterable[T], verb: Callable[[T], bool]) -> int:
    """Apply a verb of the outbox to pictures, some in each transaction; return how many it changed."""
    remaining, changed = iter(chosen), 0
    while batch := list(islice(remaining, _ROWS_PER_COMMIT)):
        with outbox.catalog.together():
            changed += sum(map(verb, batch))
    return changed


def complain_of_unknown(config: Config, unknown: Sequence[str]) -> int:
    """Write to stderr why each file has no record; return the exit status."""
    for file in unknown:
        complain(f"{file}: {why_unknown(config, file)}")
    return 1 if unknown else 0
