"""Read the API password from its file."""

from __future__ import annotations

import codecs
import os
import stat
from collections.abc import Mapping
from typing import Final

from sticky_pi_api.transport.credentials import Secret

CREDENTIAL: Final = "api-password"
"""The name of the systemd credential that holds the password where nothing else is configured."""

_LONGEST: Final = 4096  # bytes; a longer file is another one


def is_credential(path: str | None, environ: Mapping[str, str]) -> bool:
    """Return whether a password file is a credential: systemd protects it, and writes it at each start of the unit."""
    return path is not None and os.path.dirname(path) == environ.get("CREDENTIALS_DIRECTORY")


def read_password_file(path: str, *, others_may_read: bool = False) -> Secret:
    """Return the password in the file at `path`, without the newline at its end.

    `others_may_read` is for systemd's credentials, which systemd protects by their folder: their mode shows the mask of
    an access list. Raises ValueError with advice where the file can't be used.
    """
    try:
        # A FIFO with this name must not delay the start.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ValueError(f"the password file {path} isn't a regular file")
            if status.st_mode & 0o077 and not others_may_read:
                raise ValueError(f"the password file {path} can be read by others than its owner: chmod 600 {path}")
            return Secret(_password(file.read(_LONGEST + 1), path))
    except OSError as error:
        raise ValueError(f"the password file {path} can't be read: {error.strerror}") from error


def _password(content: bytes, path: str) -> str:
    if len(content) > _LONGEST:
        raise ValueError(f"the password file {path} is longer than {_LONGEST} bytes: is it the right file?")
    # With or without the byte order mark of Windows editors.
    line = content.removeprefix(codecs.BOM_UTF8).removesuffix(b"\n").removesuffix(b"\r")
    if not line:
        raise ValueError(f"the password file {path} is empty")
    try:
        return line.decode()
    except UnicodeDecodeError:
        # Not chained: that error would carry the password.
        raise ValueError(f"the password file {path} isn't UTF-8 text") from None
