"""What can be typed, as the parser of the program itself has it: the source of the man page and of the completion."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from sticky_pi_uploader.cli.arguments import COMMANDS, parser


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a command."""

    flags: tuple[str, ...]
    """such as -h and --help; none for one that is known by its place"""
    metavar: str | None
    """what follows the flag, or stands in the place; None for a flag that is all"""
    repeats: bool
    optional: bool
    help: str

    @property
    def typed(self) -> str:
        """The way it is written in a synopsis, without brackets."""
        return " ".join(filter(None, [self.flags[-1] if self.flags else "", self.metavar]))


@dataclass(frozen=True, slots=True)
class Verb:
    """One command."""

    name: str
    summary: str
    example: str
    own: tuple[Argument, ...]
    """what no other command has"""


def main_flags() -> tuple[Argument, ...]:
    """Return every flag that is accepted before a command."""
    return _arguments(parser())


def verbs() -> tuple[Verb, ...]:
    """Return every command, in the order of `--help`."""
    shared = {argument.flags for argument in main_flags()}
    found = []
    for command in COMMANDS:
        sub = argparse.ArgumentParser()
        command.add_arguments(sub)
        own = tuple(argument for argument in _arguments(sub) if argument.flags not in shared)
        found.append(Verb(command.name, command.summary, command.example, own))
    return tuple(found)


def _arguments(one: argparse.ArgumentParser) -> tuple[Argument, ...]:
    return tuple(_argument(action) for action in one._actions if not isinstance(action, argparse._SubParsersAction))


def _argument(action: argparse.Action) -> Argument:
    takes = None if action.nargs == 0 else str(action.metavar or action.dest.upper())
    repeats = action.nargs == "*" or isinstance(action, argparse._AppendAction)
    return Argument(
        flags=tuple(action.option_strings),
        metavar=takes,
        repeats=repeats,
        optional=not action.required or action.nargs == "*",
        help=(action.help or "") % vars(action),
    )
