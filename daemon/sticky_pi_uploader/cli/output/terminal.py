"""Write to stdout and stderr: output, complaints, text that is safe on a terminal, and the terminal's width."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ...config import Config

PROGRAM: Final = "sticky-pi-uploader"

_USUAL_COLUMNS: Final = 80


class OutputError(Exception):
    """Nothing can be written to stdout any more; `error` says why."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error)
        self.error = error


def print_lines(lines: Iterable[str]) -> None:
    """Print each line. Raises OutputError, so that an OSError of `lines` itself isn't taken for one of stdout."""
    for line in lines:
        try:
            sys.stdout.write(f"{line}\n")
        except OSError as error:
            raise OutputError(error) from error


def complain(text: str) -> None:
    """Write each line to stderr, after the program's name."""
    for line in text.splitlines():
        sys.stderr.write(f"{PROGRAM}: {safe(line)}\n")


def suggest(config: Config, command: str) -> str:
    """Return a command line for people to type: this program's name, the flags of this command line, and a command."""
    import shlex

    return f"{_own_name()} {shlex.join(config.flags)}{' ' if config.flags else ''}{command}"


def _own_name() -> str:
    """Return the words with which this program was started, to be typed again."""
    import shlex

    if os.path.basename(sys.argv[0]) == "__main__.py":
        python = os.path.basename(sys.executable)
        python = python if _find_program(python) == sys.executable else shlex.quote(sys.executable)
        return f"{python} -m {__name__.partition('.')[0]}"
    typed = sys.argv[0]
    return shlex.quote(typed) if os.path.dirname(typed) and _find_program(PROGRAM) != typed else PROGRAM


def _find_program(name: str) -> str | None:
    """Return the program that a shell would find, as `shutil.which` does; that module takes long to load."""
    places = (os.path.join(folder, name) for folder in os.get_exec_path())
    return next((place for place in places if os.access(place, os.X_OK)), None)


def columns() -> int:
    """Return the number of characters that fit in a line, as `shutil` would; that module takes long to load."""
    try:
        return int(os.environ["COLUMNS"]) or _USUAL_COLUMNS
    except (KeyError, ValueError):
        pass
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or _USUAL_COLUMNS
    except (AttributeError, OSError, ValueError):  # closed, or no terminal
        return _USUAL_COLUMNS


def safe(text: str) -> str:
    r"""Escape as \x… all that a terminal might act on or can't show: control characters, bytes that aren't UTF-8."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else _escaped(character) for character in text)


def _escaped(character: str) -> str:
    code = ord(character)
    if "\udc80" <= character <= "\udcff":  # how Python holds a byte that isn't UTF-8
        code -= 0xDC00
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}"  # noqa: PLR2004 - a byte
