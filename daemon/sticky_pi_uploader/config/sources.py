"""Where configuration comes from: the file, the environment over it, the flags over both."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from .schema import SCHEMA, Key

if TYPE_CHECKING:
    from .file import ConfigFile

_SHOWN: Final = 60  # characters of a wrong value that a message repeats
_HUGE: Final = 10**18


class Given(NamedTuple):
    """What somebody gave for a key."""

    key: Key
    value: object
    source: str


def from_file(file: ConfigFile | None) -> Iterator[Given]:
    """Yield what the configuration file says; unknown keys are its own business."""
    for key in SCHEMA:
        if file and key.name in file.values:
            yield Given(key, file.values[key.name], f"{file.place(key.name)}: {key}")


def from_environment(environ: Mapping[str, str]) -> Iterator[Given]:
    """Yield what the environment says; an empty variable counts as not set."""
    for key in SCHEMA:
        for variable, read in key.environment.items():
            if text := environ.get(variable):
                yield Given(key, read(text), variable)
                break


def from_flags(flags: Mapping[str, str | None]) -> Iterator[Given]:
    """Yield what the flags say; a relative path starts at the current folder."""
    for key in SCHEMA:
        text = flags.get(key.name)
        if key.flag and text is not None:
            yield Given(key, _from_here(text) if key.is_path else text, key.flag)


def _from_here(path: str) -> str:
    try:
        # An empty path is a mistake, not the current folder.
        return os.path.join(os.getcwd(), path) if path else path
    except FileNotFoundError:  # the current folder was removed
        return path


def take(given: Iterable[Given], problems: list[str]) -> tuple[dict[str, Any], set[str]]:
    """Return the values by name, the later ones of `given` over the earlier ones, and the names of wrong ones."""
    values = {key.name: None if key.default is None else key.take(key.default) for key in SCHEMA}
    wrong = set()
    for each in given:
        try:
            values[each.key.name] = each.key.take(each.value)
        except ValueError as error:
            problems.append(f"{each.source}: {error}, not {_shown(each.value)}")
            wrong.add(each.key.name)
    return values, wrong


def _shown(value: object) -> str:
    """Repeat a wrong value, as far as that is short and safe."""
    if isinstance(value, dict | list):
        return "a section" if isinstance(value, dict) else "a list"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and abs(value) >= _HUGE:
        return "a number as large as that"
    if not isinstance(value, str):
        return str(value)
    if "@" in value or "?" in value:
        return "what is there (it isn't repeated here: it may hold a password)"
    return ascii(value[:_SHOWN]) + ("…" if len(value) > _SHOWN else "")
