"""`help`: show the commands, or how one of them is used."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, Namespace

from ..arguments import COMMANDS, parser, unknown


def add_arguments(parser: ArgumentParser) -> None:
    """Add the command."""
    parser.add_argument("topic", nargs="?", type=_command, metavar="COMMAND", help="the command to explain")


def run(arguments: Namespace) -> int:
    """Print the same as `--help`, and raise SystemExit."""
    words = [arguments.topic] if arguments.topic else []
    parser(words).parse_args([*words, "--help"])
    raise AssertionError("--help ends the program")


def _command(name: str) -> str:
    names = [command.name for command in COMMANDS]
    if name not in names:
        raise ArgumentTypeError(unknown("command", name, names))
    return name
