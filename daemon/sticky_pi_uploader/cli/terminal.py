"""What a terminal can show: how wide it is, and text without anything that it might act on."""

from __future__ import annotations

import os
import sys
from typing import Final

_USUAL: Final = 80


def columns() -> int:
    """Tell how many characters fit in a line, as `shutil` does, which takes long to load."""
    try:
        return int(os.environ["COLUMNS"]) or _USUAL
    except (KeyError, ValueError):
        pass
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or _USUAL
    except (AttributeError, OSError, ValueError):  # closed, or no terminal
        return _USUAL


def safe(text: str) -> str:
    r"""Write what a terminal might act on, or can't show, as \x…: control characters, and bytes that aren't UTF-8."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else _escaped(character) for character in text)


def _escaped(character: str) -> str:
    code = ord(character)
    if "\udc80" <= character <= "\udcff":  # how Python holds a byte that isn't UTF-8
        code -= 0xDC00
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}"  # noqa: PLR2004 - a byte
