"""Configuration of an API: keyword arguments over environment variables over a file over defaults."""

from __future__ import annotations

import os
from typing import Any

from sticky_pi_api.types import FilePath


class RequiredConfVar:
    """Stands for the value of a variable that has no default: it has to be given."""


class BaseAPIConf(dict[str, Any]):
    """The values of a configuration, as items and as attributes; subclasses declare theirs in upper case."""

    def __init__(self, env_file: FilePath | None = None, **kwargs: Any) -> None:
        """Gather the values; `env_file` has lines such as `NAME=value`, with `#` before comments.

        Raises OSError for a file that can't be read, ValueError for a line in it that means nothing and for a
        required variable that isn't given.
        """
        defaults = {
            name: value for kind in reversed(type(self).mro()) for name, value in vars(kind).items() if name.isupper()
        }
        from_file = {} if env_file is None else _read_env_file(env_file)
        from_environment = {name: os.environ[name] for name in {*defaults, *from_file} if name in os.environ}
        super().__init__(defaults | from_file | from_environment | kwargs)
        if missing := sorted(name for name, value in self.items() if isinstance(value, RequiredConfVar)):
            raise ValueError(
                f"{', '.join(missing)} must be configured: as an argument, in the environment or in a file"
            )

    def __getattribute__(self, name: str) -> Any:
        """Return an item as an attribute, before the class's default of it."""
        return self[name] if name.isupper() and name in self else super().__getattribute__(name)


class LocalAPIConf(BaseAPIConf):
    """The configuration of the embedded store."""

    LOCAL_DIR: str | RequiredConfVar = RequiredConfVar()
    """the store's folder"""

    SECRET_API_KEY: str = "embedded-store"  # noqa: S105 - it protects nothing: whoever reads the store has the files
    """the key that tokens are signed with"""


def _read_env_file(path: FilePath) -> dict[str, str]:
    values = {}
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(map(str.strip, lines), start=1):
            if not line or line.startswith("#"):
                continue
            name, separator, value = line.removeprefix("export ").partition("=")
            if not separator or not name.strip().isidentifier():
                raise ValueError(f"{os.fspath(path)}, line {number}: NAME=value is expected")
            values[name.strip()] = _unquoted(value.strip())
    return values


def _unquoted(value: str) -> str:
    quotes = ('"', "'")
    is_quoted = len(value) > 1 and value.startswith(quotes) and value[0] == value[-1]
    return value[1:-1] if is_quoted else value
