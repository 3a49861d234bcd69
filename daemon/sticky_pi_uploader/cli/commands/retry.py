"""What `retry` does: asks, in the outbox, that pictures be looked at again; a running daemon notices by itself."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

from ...exceptions import StateError
from ...models import Picture, State
from ...outbox import Outbox, outbox_path
from ...upload.backoff import LONGEST_WAIT
from .explain import find

TOGETHER: Final = 500
"""Pictures recorded in one step: each step waits for the disk, and a daemon at work for the step"""

_UNFINISHED = (State.PENDING, State.CONFLICT, State.REJECTED, State.LOST)


def retry(state_dir: str, image_dir: str, files: Sequence[str], *, everything: bool) -> tuple[int, list[str]] | None:
    """Ask that the pictures called `files`, or all, be looked at again, and end the destination's wait.

    Returns how many will be, and the names that nothing is recorded of; None where nothing is recorded at all.
    Raises StateError where the outbox can't be written.
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
        chosen = {picture.id: picture for picture in _all(outbox, found.values(), everything=everything)}
        remaining, retried = iter(chosen.values()), 0
        while batch := list(islice(remaining, TOGETHER)):
            with outbox.together():
                retried += sum(map(outbox.retry, batch))
        outbox.end_wait()
    return retried, [file for file, pictures in found.items() if not pictures]


def _all(outbox: Outbox, named: Iterable[list[Picture]], *, everything: bool) -> Iterator[Picture]:
    for pictures in named:
        yield from pictures
    if everything:
        # One that waits for nothing but its turn has nothing to gain.
        yield from (each for each in outbox.pictures(_UNFINISHED) if each.state != State.PENDING or each.not_before)
