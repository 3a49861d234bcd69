"""What can be typed: every command with its arguments, as `--help` and the README have them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Collection
from functools import partial
from typing import Any, Final, NamedTuple, NoReturn

from ..config import add_flags
from ..models import State
from .terminal import columns, safe

PROGRAM: Final = "sticky-pi-uploader"

WRONG_USAGE: Final = 2

EXIT_STATUSES: Final = """\
exit status:
  0    all went well
  1    explain, retry: unknown picture; check: something is wrong; audit: something doesn't add up
  2    wrong usage
  70   run: a part of the service died
  73   another process is at work on the same folders
  74   the state folder can't be made, read or written
  75   drain: something is left to send, or couldn't be read; run, prepare: the folders aren't there (any more)
  78   the configuration can't be used"""


class Command(NamedTuple):
    """One command, as `--help` and the README have it."""

    name: str
    summary: str
    example: str
    add_arguments: Callable[[argparse.ArgumentParser], None] = lambda _: None


def _drain_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--deadline", type=_seconds, metavar="SECONDS", help="stop after this time, at the latest")


def _prepare_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--user", metavar="NAME", help="give the folder, and what is in it, to this user")


def _list_arguments(parser: argparse.ArgumentParser) -> None:
    states = ", ".join(State)
    parser.add_argument(
        "--state",
        type=_state,
        action="append",
        default=[],
        dest="states",
        metavar="STATE",
        help=f"only pictures in this state, one of {states}; may be given several times",
    )
    _json_argument(parser)


def _explain_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="the picture: any path of it, or its name")
    _json_argument(parser)


def _retry_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="*", metavar="FILE", help="a picture: any path of it, or its name")
    parser.add_argument("--all", action="store_true", help="all that aren't uploaded")


def _audit_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--verify", action="store_true", help="ask the destination for every picture that it should have"
    )
    parser.add_argument("--deep", action="store_true", help="read every file on the card, and compare its md5")
    _json_argument(parser)


def _demo_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folder", nargs="?", default="sticky-pi-demo", metavar="FOLDER", help="where (default: %(default)s)"
    )


def _json_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")


def _state(name: str) -> State:
    from difflib import get_close_matches

    try:
        return State(name)
    except ValueError:
        close = get_close_matches(name.lower(), list(State), n=1, cutoff=0.4)
        meant = f"did you mean {close[0]}?" if close else f"there are {', '.join(State)}"
        raise argparse.ArgumentTypeError(f"there is no state {name!a}; {meant}") from None


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number of seconds, not {text!a}")
    return seconds


class _Parser(argparse.ArgumentParser):
    """Says in one line what is wrong."""

    def error(self, message: str) -> NoReturn:
        self.exit(WRONG_USAGE, f"{PROGRAM}: {safe(message)}; see `{self.prog} --help`\n")


class _Version(argparse.Action):
    """Looks the version up only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import PackageNotFoundError, version

        try:
            found = version(PROGRAM)
        except PackageNotFoundError:
            found = "(not installed, run from its source)"
        sys.stdout.write(f"{PROGRAM} {found}\n")
        parser.exit()


COMMANDS: Final = (
    Command("run", "the service: watches, takes in and sends, until it is stopped", "run"),
    Command(
        "drain",
        "takes in everything on disk, sends what is due, and stops",
        "drain --deadline 60",
        _drain_arguments,
    ),
    Command("status", "how things stand", "status", _json_argument),
    Command("list", "one line a picture", "list --state rejected --state conflict", _list_arguments),
    Command(
        "explain",
        "the whole story of one picture",
        "explain 5c173ff2.2020-06-20_21-33-24.jpg",
        _explain_arguments,
    ),
    Command("retry", "looks at pictures again now", "retry --all", _retry_arguments),
    Command("audit", "accounts for every picture, and for gaps in the sequence", "audit --verify", _audit_arguments),
    Command("check", "finds what is wrong and says how to mend it", "check", _json_argument),
    Command("config", "the effective configuration, secrets masked", "config"),
    Command(
        "prepare",
        "waits for the image folder, then makes the state folder, for a service without the right to",
        "prepare --user sticky-pi-uploader",
        _prepare_arguments,
    ),
    Command("demo", "makes a small trap's worth of pictures and sends them to a store", "demo", _demo_arguments),
)
"""Every command, in the order of `--help`."""


def parser(typed: Collection[str] | None = None) -> argparse.ArgumentParser:
    """Make the parser; its result has `command`, and `usage_error`, which ends the process with status 2.

    With the words that were `typed`, only the commands among them get their arguments: all of them together would take
    a good part of a start.
    """
    parser = _Parser(
        prog=PROGRAM,
        description="Gets every picture of a Sticky Pi trap from its card to the project's server, by itself.",
        epilog=EXIT_STATUSES,
        formatter_class=_as_wide_as_the_terminal(argparse.RawDescriptionHelpFormatter),
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    add_flags(parser)
    commands = parser.add_subparsers(title="commands", prog=PROGRAM, required=True, metavar="COMMAND")
    for command in COMMANDS:
        sub = commands.add_parser(
            command.name,
            help=command.summary,
            description=command.summary[0].upper() + command.summary[1:] + ".",
            epilog=f"example: {PROGRAM} {command.example}",
            formatter_class=_as_wide_as_the_terminal(argparse.HelpFormatter),
            allow_abbrev=False,
        )
        if typed is None or command.name in typed:
            command.add_arguments(sub)
            add_flags(sub)
            sub.set_defaults(command=command.name, usage_error=sub.error)
    return parser


def _as_wide_as_the_terminal(formatter: type[argparse.HelpFormatter]) -> Any:
    # Left to itself, argparse asks `shutil`.
    return partial(formatter, width=columns() - 2)
