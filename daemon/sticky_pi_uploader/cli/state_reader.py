"""Read the outbox for commands: without writing or locking, and as much as can be read of one that is damaged."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Final, TypeVar

from ..config import Config, from_arguments
from ..exceptions import NoSpaceError, OutboxDamagedError, StateError
from ..models import Hold, Picture, State
from ..outbox import OutboxReader, outbox_path
from ..ownership.run_as_owner import work_as_owner
from ..state_dir.privileges import was_root
from .output.terminal import complain

Warn = Callable[[str], None]
"""Called with one line for people about trouble with the state"""

T = TypeVar("T")

_NOT_YET: Final = "no picture has been taken in yet, or else name the place with --config, --image-dir or --state-dir"


class StateReader:
    """The records in a state folder; `outbox` is None where there are none, or none that can be read."""

    def __init__(self, outbox: OutboxReader | None, warn: Warn) -> None:
        self.outbox = outbox
        self.warnings: set[str] = set()
        self._warn = warn

    def warn(self, line: str) -> None:
        """Warn of something wrong with the state, once."""
        if line not in self.warnings:
            self.warnings.add(line)
            self._warn(line)

    def ask(self, question: Callable[[OutboxReader], T], unknown: T) -> T:
        """Return the outbox's answer; `unknown` where there is no outbox, or where it is too damaged to tell."""
        if self.outbox is None:
            return unknown
        try:
            return consistently(self.outbox, question)
        except OutboxDamagedError as error:
            self.warn_of_damage(error)
            return unknown

    def pictures(self, states: Iterable[State] = ()) -> Iterator[Picture]:
        """Yield the pictures in these states (none given: in any), one at a time, by datetime and path.

        If the outbox turns out to be damaged, the others that can be read follow, in the order of their rows.
        """
        if self.outbox is None:
            return
        wanted, shown = frozenset(states), set[int]()
        try:
            while True:
                try:
                    for picture in self.outbox.pictures(wanted):
                        if picture.id not in shown:
                            shown.add(picture.id)
                            yield picture
                except StateError:
                    if not self.outbox.renew():
                        raise
                else:
                    if not self.outbox.renew():
                        return
        except OutboxDamagedError as error:
            self.warn_of_damage(error)
            left = (picture for picture in self.salvage() if picture.id not in shown)
            yield from (picture for picture in left if not wanted or picture.state in wanted)

    def salvage(self) -> Iterator[Picture]:
        """Yield every picture that can be read, row by row."""
        return self.outbox.salvage() if self.outbox else iter(())

    def warn_of_damage(self, error: OutboxDamagedError) -> None:
        """Warn that the outbox is damaged, and that a part of it can be read."""
        self.warn(f"{error}; what can still be read of it is shown")


def consistently(outbox: OutboxReader, question: Callable[[OutboxReader], T]) -> T:
    """Return the outbox's answer; ask again if a writer came in between, as the first answer may be wrong then."""
    while True:
        try:
            answer = question(outbox)
        except StateError:
            if not outbox.renew():
                raise
        else:
            if not outbox.renew():
                return answer


def hold_in_force(state: StateReader, config: Config) -> Hold | None:
    """Return the hold in force now; None where nothing is held, or the outbox is too damaged to tell."""
    if not config.hold.is_on:
        return None
    from ..budget.holds import hold_in_force

    return state.ask(lambda outbox: hold_in_force(config, outbox, time.time()), None)


def hold_problems(config: Config, hold: Hold | None) -> list[tuple[str, str]]:
    """Return what is wrong with the hold in force, or keeps `[hold]` from working, and how to correct each."""
    if not config.hold.is_on:
        return []
    from ..budget.hold import problems

    return list(problems(config.hold, hold, time.time()))


def config_as_owner(arguments: argparse.Namespace, *, gives: bool = False) -> Config:
    """Load the configuration; a process of root goes on as the owner of the state folder."""
    config = from_arguments(arguments, os.environ)
    work_as_owner(config.state_dir, config.image_dir, gives=gives)
    return config


@contextmanager
def open_state(state_dir: str, warn: Warn = complain, *, silent_if_missing: bool = False) -> Iterator[StateReader]:
    """Open the outbox in `state_dir` for reading; warn if it is damaged, or if there is none.

    Raises StateError where it can't be read for another reason.
    """
    state = StateReader(None, warn)
    state.outbox = _open(outbox_path(state_dir), state, silent_if_missing=silent_if_missing)
    with state.outbox or nullcontext(), sudo_advised():
        yield state


@contextmanager
def sudo_advised() -> Iterator[None]:
    """Add the advice to use sudo to a StateError that root's rights might prevent."""
    try:
        yield
    except OutboxDamagedError:
        raise
    except StateError as error:
        if os.geteuid() == 0 or was_root():
            raise
        raise StateError(f"{error}; try again with sudo") from error


def _open(path: str, state: StateReader, *, silent_if_missing: bool) -> OutboxReader | None:
    with sudo_advised():
        try:
            try:
                return OutboxReader.open_readonly(path)
            except NoSpaceError as error:
                state.warn(f"{error}; what is shown may not be the latest")
                return OutboxReader.open_without_log(path)
        except (FileNotFoundError, NotADirectoryError):
            if not silent_if_missing:
                state.warn(f"no state in {os.path.dirname(path)}: {_NOT_YET}")
            return None
        except OSError as error:
            raise StateError(f"the outbox {path} can't be read: {error.strerror}") from error
        except OutboxDamagedError as error:
            state.warn_of_damage(error)
            try:
                return OutboxReader.open_damaged(path)
            except StateError:
                return None
