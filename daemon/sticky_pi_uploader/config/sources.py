"""Read the configured values: from the file with its line numbers, the environment, and the flags."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from ..exceptions import ConfigError
from .schema import SCHEMA, SECTIONS, Key, title

_LARGEST_FILE: Final = 1_000_000  # bytes
_SECTION: Final = r"\s*\[\s*(?P<name>[\w.-]+)\s*\]\s*(#.*)?"
_KEY: Final = r"\s*(?P<name>[\w.-]+)\s*="
_SHOWN: Final = 60  # characters of a wrong value that a message repeats
_HUGE: Final = 10**18


class ConfigFile(NamedTuple):
    """The contents of a configuration file."""

    path: str
    values: Mapping[str, object]
    """`key` or `section.key` → value, as parsed"""
    lines: Mapping[str, int]
    """`key` or `section.key` → line number, where that is known"""

    def place(self, name: str) -> str:
        """Return the file's path, with the line of a key."""
        line = self.lines.get(name)
        return f"{self.path}, line {line}" if line else self.path


def read_file(path: str) -> ConfigFile:
    """Read the file at `path`, without validating keys or values.

    Raises ConfigError where it can't be read or isn't TOML, FileNotFoundError where it doesn't exist.
    """
    text = _text(path)
    import tomllib

    try:
        tree = tomllib.loads(text)
    except RecursionError:
        raise ConfigError([f"{path}: isn't TOML: too many brackets"]) from None
    except ValueError as error:
        raise ConfigError(_syntax_problems(path, text, str(error))) from error
    return ConfigFile(path, dict(_leaves(tree)), _first_lines(text))


def _text(path: str) -> str:
    try:
        with open(path, "rb") as file:
            content = file.read(_LARGEST_FILE + 1)
    except FileNotFoundError:
        raise
    except PermissionError as error:
        raise ConfigError([f"{path}: can't be read: {error.strerror}; try it with sudo"]) from error
    except (OSError, ValueError) as error:
        raise ConfigError([f"{path}: can't be read: {getattr(error, 'strerror', error)}"]) from error
    if len(content) > _LARGEST_FILE:
        raise ConfigError([f"{path}: is larger than 1 MB: is it the right file?"])
    try:
        # With or without the byte order mark of Windows editors.
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError([f"{path}, line {line}: isn't UTF-8 text"]) from error


def _leaves(tree: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    for name, value in tree.items():
        if name in SECTIONS and isinstance(value, dict):
            yield from ((f"{name}.{key}", below) for key, below in value.items())
        else:
            # A quoted "api.url" isn't the url in [api].
            yield f'"{name}"' if "." in name else name, value


def _syntax_problems(path: str, text: str, error: str) -> list[str]:
    """Return the messages for a file that isn't TOML; `error` is that of `tomllib`.

    The commonest mistake gets a message of its own: a section or key that is added, although it is there already.
    """
    first = _first_lines(text)
    repeated = {number: name for number, name in _lines(text) if first[name] != number}
    place = re.search(r"\(at line (\d+)", error)
    stopped_at = int(place[1]) if place else len(text.splitlines())
    if stopped_at not in repeated:
        return [f"{path}: isn't TOML: {error}"]
    return [
        f"{path}, line {number}: {_title(name)} stands in line {first[name]} already: change it there"
        for number, name in repeated.items()
    ]


def _title(name: str) -> str:
    return f"[{name}]" if name in SECTIONS else title(name)


def _first_lines(text: str) -> dict[str, int]:
    """Return the number of the first line in which each section and each key stands."""
    return {name: number for number, name in reversed([*_lines(text)])}


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines with sections and keys, found by a simple search, as `tomllib` doesn't tell them."""
    section = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.fullmatch(_SECTION, line):
            yield number, header["name"]
            section = header["name"] + "."
        elif key := re.match(_KEY, line):
            yield number, section + key["name"]


class Given(NamedTuple):
    """A value given for a key, not yet validated."""

    key: Key
    value: object
    source: str
    """for messages: the place in the file, the variable, or the flag"""


def given_values(
    file: ConfigFile | None, environ: Mapping[str, str], flags: Mapping[str, str | None]
) -> Iterator[Given]:
    """Yield the values of the file, then those that replace them: each key's flag, or else its variable.

    An empty variable counts as not set. A relative path in a flag starts at the current folder.
    """
    for key in SCHEMA:
        if file and key.name in file.values:
            yield Given(key, file.values[key.name], f"{file.place(key.name)}: {key}")
    for key in SCHEMA:
        flag, variable = flags.get(key.name), next(filter(environ.get, key.environment), None)
        if key.flag and flag is not None:
            yield Given(key, _from_here(flag) if key.is_path else flag, key.flag)
        elif variable is not None:
            yield Given(key, key.environment[variable](environ[variable]), variable)


def _from_here(path: str) -> str:
    try:
        # An empty path is a mistake, not the current folder.
        return os.path.join(os.getcwd(), path) if path else path
    except FileNotFoundError:  # the current folder was removed
        return path


def take(given: Iterable[Given], problems: list[str]) -> tuple[dict[str, Any], set[str]]:
    """Return the valid values by name, later ones of `given` over earlier ones, and the names of wrong ones.

    Messages about wrong values are added to `problems`.
    """
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
    """Format a wrong value for a message, as far as that is short and safe."""
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


def unknown_keys(file: ConfigFile) -> list[str]:
    """Return a message for each unknown key, with the key that was probably meant."""
    known = {key.name for key in SCHEMA}
    return [f"{file.place(name)}: {_unknown(name)}" for name in file.values if name not in known]


def _unknown(name: str) -> str:
    from difflib import get_close_matches

    section, dot, key = name.partition(".")
    if not dot or section not in SECTIONS:
        section, key = "", name
    if name in SECTIONS:
        return f"{name} is a section: expected a line [{name}], and its keys below"
    shown = (f"[{section}] " if section else "") + (key if key.isprintable() and key else ascii(key))[:80]
    if key.lower() == "password":
        return f"{shown}: a password doesn't belong here; write it to a file of its own, and name that in password_file"
    # A key in the wrong section is likelier than a misspelled one.
    likely = [each for each in SCHEMA if each.name.rpartition(".")[2] == key.lower().replace("-", "_")]
    names = get_close_matches(name[:80], [each.name for each in SCHEMA] + sorted(SECTIONS), n=1)
    likely += [each for each in SCHEMA if each.name in names]
    meant = str(likely[0]) if likely else f"[{names[0]}]" if names else ""
    return f"{shown} isn't a key" + (f"; did you mean {meant}?" if meant else "")
