"""Reads the configuration file: every key in it, with its line, and what is wrong with those that mean nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from ..exceptions import ConfigError
from .schema import SCHEMA, SECTIONS

_LARGEST: Final = 1_000_000  # bytes
_SECTION: Final = re.compile(r"\s*\[\s*(?P<name>[\w.-]+)\s*\]\s*(#.*)?")
_KEY: Final = re.compile(r"\s*(?P<name>[\w.-]+)\s*=")


class ConfigFile(NamedTuple):
    """What a configuration file says."""

    path: str
    values: Mapping[str, object]
    """`key`, or `section.key` → value, as TOML has it"""
    lines: Mapping[str, int]
    """the same → its line, where that is known"""

    def place(self, name: str) -> str:
        """Say where in the file a key is."""
        line = self.lines.get(name)
        return f"{self.path}, line {line}" if line else self.path


def read(path: str) -> ConfigFile:
    """Read the file at `path`, without judging keys or values.

    Raises ConfigError where it can't be read or isn't TOML, FileNotFoundError where it isn't there.
    """
    text = _text(path)
    import tomllib

    try:
        tree = tomllib.loads(text)
    except RecursionError:
        raise ConfigError([f"{path}: isn't TOML: too many brackets"]) from None
    except ValueError as error:
        raise ConfigError([f"{path}: isn't TOML: {error}"]) from error
    return ConfigFile(path, dict(_leaves(tree)), _lines(text))


def _text(path: str) -> str:
    try:
        with open(path, "rb") as file:
            content = file.read(_LARGEST + 1)
    except FileNotFoundError:
        raise
    except PermissionError as error:
        raise ConfigError([f"{path}: can't be read: {error.strerror}; try it with sudo"]) from error
    except (OSError, ValueError) as error:
        raise ConfigError([f"{path}: can't be read: {getattr(error, 'strerror', error)}"]) from error
    if len(content) > _LARGEST:
        raise ConfigError([f"{path}: is larger than 1 MB: is it the right file?"])
    try:
        # With or without the mark that Windows editors put at the start.
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


def _lines(text: str) -> dict[str, int]:
    """Find the keys' lines, as far as that goes without parsing: TOML's reader doesn't tell."""
    section = ""
    lines: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _SECTION.fullmatch(line):
            lines.setdefault(header["name"], number)
            section = header["name"] + "."
        elif key := _KEY.match(line):
            lines.setdefault(section + key["name"], number)
    return lines


def unknown_keys(file: ConfigFile) -> list[str]:
    """Return a line for each key that means nothing, with the one that was probably meant."""
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
    # A key in the wrong section is likelier than one that is spelled like another.
    likely = [each for each in SCHEMA if each.name.rpartition(".")[2] == key.lower().replace("-", "_")]
    names = get_close_matches(name[:80], [each.name for each in SCHEMA] + sorted(SECTIONS), n=1)
    likely += [each for each in SCHEMA if each.name in names]
    meant = str(likely[0]) if likely else f"[{names[0]}]" if names else ""
    return f"{shown} isn't a key" + (f"; did you mean {meant}?" if meant else "")
