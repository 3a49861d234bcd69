"""The command line's parser, and the table of commands that `--help`, the README and the man page show."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection, Sequence
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import Any, Final, NamedTuple, NoReturn

from ..config import add_flags
from .output.terminal import PROGRAM, columns, safe

WRONG_USAGE: Final = 2

AS_SERVICE: Final = frozenset({"audit", "check", "dismiss", "drain", "retry"})
"""Commands that root runs with the service's user, credentials and limits (`ownership.run_as_service`)"""

EXIT_STATUSES: Final = """\
exit status:
  0    success
  1    explain, retry, dismiss: unknown picture; check: something is wrong; audit: something doesn't add up
  2    wrong usage
  70   run: a part of the service failed
  73   another process is at work on the same folders
  74   the state folder can't be made, read or written
  75   drain: something is left to send, or couldn't be read; prepare: no image folder; run: systemd has to restart it
  78   the configuration can't be used"""


_FOLDERS: Final = {
    **dict.fromkeys(("audit", "dismiss", "explain", "list", "retry"), "pictures."),
    **dict.fromkeys(("drain", "install-service", "prepare", "run"), "service."),
}
"""Commands → the folders of their modules, where those aren't in `commands` itself"""


class Command(NamedTuple):
    """One command, as `--help` and the README have it; its module in `commands` is imported only when it is needed."""

    name: str
    summary: str
    example: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the arguments that this command has beside the configuration's flags, if it has any."""
        if (add := getattr(self._module(), "add_arguments", None)) is not None:
            add(parser)

    def run(self, arguments: argparse.Namespace) -> int:
        """Run the command and return its exit status. Raises UploaderError and OutputError."""
        status: int = self._module().run(arguments)
        return status

    def _module(self) -> ModuleType:
        name = _FOLDERS.get(self.name, "") + self.name.replace("-", "_")
        return import_module(f".commands.{name}", __package__)


class _Parser(argparse.ArgumentParser):
    """A parser that reports wrong usage in one line, with the flag or command that was probably meant."""

    typed: Collection[str] = ()
    """the words of the whole command line"""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse as the base class does, but end the process at the first argument that isn't known."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return found, unknown

    def error(self, message: str) -> NoReturn:
        message = self._unknown_flag() or message
        see = " See" if message.endswith("?") else "; see"
        self.exit(WRONG_USAGE, f"{PROGRAM}: {safe(message)}{see} `{self.prog} --help`\n")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if isinstance(action, argparse._SubParsersAction) and value not in action.choices:  # noqa: SLF001 - no other name
            raise argparse.ArgumentError(None, unknown("command", value, list(action.choices)))
        super()._check_value(action, value)

    def _unknown_flag(self) -> str | None:
        """Return the message for the first flag that isn't one; None where all are.

        Argparse itself takes the value that follows an unknown flag for the command.
        """
        words, flags, is_main = iter(self.typed), self._option_string_actions, self.prog == PROGRAM
        for word in words:
            name, equals, _ = word.partition("=")
            if name in flags:
                if flags[name].nargs is None and not equals:
                    next(words, None)
            elif word == "--" or (is_main and not word.startswith("-")):
                break
            elif word.startswith("--"):
                return unknown("flag", name, [flag for flag in flags if flag.startswith("--")])
        return None


def unknown(kind: str, name: str, names: Sequence[str]) -> str:
    """Return the message for a name that is none of `names`, with the one that was probably meant, or with all."""
    from difflib import get_close_matches

    close = get_close_matches(name.lower(), names, n=1)
    return f"there is no {kind} {name!a}; " + (
        f"did you mean {close[0]}?" if close else f"there are {', '.join(names)}"
    )


class _Version(argparse.Action):
    """An action that looks up the version and prints it."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import PackageNotFoundError, version

        try:
            found = version(PROGRAM)
        except PackageNotFoundError:
            found = "(not installed, run from its source)"
        sys.stdout.write(f"{PROGRAM} {found}\n")
        parser.exit()


COMMANDS: Final = (
    Command("run", "run the service: watch the image folder and send its pictures, until it is stopped", "run"),
    Command("drain", "take in all pictures on the disk, send those that are due, and stop", "drain --deadline 60"),
    Command("status", "show whether all is well, and how many pictures are in each state", "status"),
    Command("list", "print one line for each picture", "list --state rejected --state conflict"),
    Command("explain", "tell the whole story of one picture", "explain 5c173ff2.2020-06-20_21-33-24.jpg"),
    Command("retry", "look again at pictures that aren't uploaded", "retry --all"),
    Command(
        "dismiss",
        "acknowledge rejected, conflicting or lost pictures, so that they need no attention any more",
        "dismiss holiday.jpg",
    ),
    Command("audit", "account for every picture, and find gaps in the sequence", "audit --verify"),
    Command("check", "find what is wrong, and say how to correct it", "check"),
    Command("config", "print the configuration in force, with secrets masked", "config"),
    Command("prepare", "make the state folder for a service that may not make it", "prepare --user sticky-pi-uploader"),
    Command(
        "install-service",
        "write units, man page, completion and configuration for a program that pip installed",
        "install-service",
    ),
    Command("demo", "make the pictures of a small trap, and send them to a store", "demo"),
    Command("help", "show all commands, or how to use one of them", "help drain"),
)
"""Every command, in the order of `--help`."""


def parser(typed: Sequence[str] | None = None) -> argparse.ArgumentParser:
    """Make the parser; its result has `command`, `run`, and `usage_error`, which ends the process with status 2.

    With the words that were `typed`, only the commands among them are imported and get their arguments. If the first
    word is a command, the parser knows no other one: all of them together would take a good part of a start.
    """
    width = columns() - 2  # to find it, argparse itself would import `shutil`
    parser = _Parser(
        prog=PROGRAM,
        description="Send every picture of a Sticky Pi trap from its card to the project's server.",
        epilog=EXIT_STATUSES,
        formatter_class=partial(argparse.RawDescriptionHelpFormatter, width=width),
        allow_abbrev=False,
    )
    parser.typed = typed or ()
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    add_flags(parser)
    commands = parser.add_subparsers(title="commands", prog=PROGRAM, required=True, metavar="COMMAND")
    first = [command for command in COMMANDS if typed and command.name == typed[0]]
    for command in first or COMMANDS:
        sub = commands.add_parser(
            command.name,
            help=command.summary,
            description=command.summary[0].upper() + command.summary[1:] + ".",
            epilog=f"example: {PROGRAM} {command.example}",
            formatter_class=partial(argparse.HelpFormatter, width=width),
            allow_abbrev=False,
        )
        sub.typed = parser.typed
        if typed is None or command.name in typed:
            command.add_arguments(sub)
            add_flags(sub)
            sub.set_defaults(command=command.name, run=command.run, usage_error=sub.error)
    return parser
