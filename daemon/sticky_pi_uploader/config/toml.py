"""Print the configuration in force as a TOML file, secrets masked."""

from __future__ import annotations

import json

from sticky_pi_api.transport.credentials import MASK

from .model import Config
from .schema import SCHEMA
from .values import Space


def as_toml(config: Config) -> str:
    """Return a file that gives the same configuration, secrets masked; keys that aren't set are comments."""
    lines = [f"# configuration file: {_quoted(config.file) if config.file else 'none'}"]
    section = ""
    for key in SCHEMA:
        owner, _, name = key.name.rpartition(".")
        if owner != section:
            lines += ["", f"[{owner}]"]
            section = owner
        lines.append(_line(name, getattr(getattr(config, owner) if owner else config, name), key.default_means))
        if key.name == "api.password_file" and config.api.password:
            lines.append(f'# password = "{MASK}" (from the environment)')
    return "\n".join(lines) + "\n"


def _line(name: str, value: object, unset: str) -> str:
    if value in (None, ()):
        return f"# {name}: {unset}"
    if isinstance(value, bool | int):
        return f"{name} = {value}".lower()
    if isinstance(value, Space) and value.bytes is not None:
        return f"{name} = {value}"
    if isinstance(value, tuple) and not isinstance(value, Space):
        return f"{name} = [{', '.join(map(_quoted, value))}]"
    text = str(value)
    if any("\ud800" <= character <= "\udfff" for character in text):
        return f"# {name}: {text!a}, which a file can't say: it isn't UTF-8"
    return f"{name} = {_quoted(text)}"


def _quoted(text: str) -> str:
    # TOML's strings are JSON's, except for this character.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
