"""`install-service`: write the units, the journal's catalog, the man page and more for a program that pip installed.

The wheel has these files in a folder that mirrors the system's. Root writes them: it follows a link only in a folder
that nobody else can change, and it keeps every file that somebody else may have written.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from functools import partial
from typing import Final

from sticky_pi_api.filesystem.durable import naming, write
from sticky_pi_api.filesystem.safe_open import open_file

from ....exceptions import StateError
from ....state_dir.privileges import BOOTED
from ....state_dir.trusted_path import find_foreign, opened_split, split
from ...output.terminal import PROGRAM, complain, print_lines

FILES: Final = os.path.join(os.path.dirname(__file__), "..", "..", "..", "share")

CONFIGURATION: Final = f"/etc/{PROGRAM}/config.toml"

_LINK: Final = f"/usr/local/bin/{PROGRAM}"
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_HIDDEN: Final = ("/home/", "/root/", "/run/user/")
"""Folders that the unit's ProtectHome= hides from the service"""

_CALL: Final = rf"^(Exec\w+=.*?)\b{PROGRAM}(?= [a-z])"
_SETTINGS: Final = (["systemd-sysusers", f"{PROGRAM}.conf"], ["journalctl", "--update-catalog"])
_MINE_INSTEAD: Final = f"install it where only root can write: sudo python3 -m venv /opt/{PROGRAM}"


def run(_: Namespace) -> int:
    """Write the files, make the service's user, and say which command comes next; 74 where a file can't be written."""
    program = _own_program()
    if os.geteuid() != 0:
        raise StateError(f"only root can install the service: sudo {program} install-service")
    _require_safe(program)
    os.umask(0o022)
    status = install(program)
    for command in (*_SETTINGS, *([["systemctl", "daemon-reload"]] if os.path.isdir(BOOTED) else [])):
        if not _succeeds(*command):
            complain(f"`{' '.join(command)}` has failed")
            status = os.EX_IOERR
    print_lines(_next_steps())
    return status


def install(program: str, files: str = FILES, root: str = "/") -> int:
    """Write the service's files below `root`, so that the units call `program`; print a line for each.

    Returns the exit status. Raises StateError where there are no files.
    """
    status = os.EX_OK
    found = sorted(_relative_paths(files))
    if not found:
        raise StateError(
            f"this {PROGRAM} carries no files of a service: Debian's package has installed them itself, "
            "and a clone has to be installed with pip first"
        )
    for name in found:
        path = os.path.join(root, name)
        with open(os.path.join(files, name), "rb") as file:
            content = file.read()
        if name.startswith("etc/systemd/system/"):
            content = re.sub(_CALL, rf"\1{program}", content.decode(), flags=re.MULTILINE).encode()
        status = _reported(path, partial(_written, path, content)) or status
    if os.path.dirname(program) in _PATH.split(":"):
        return status
    link = os.path.join(root, _LINK.lstrip("/"))
    return _reported(link, partial(_linked, link, program)) or status


def _relative_paths(files: str) -> Iterator[str]:
    for folder, _, names in os.walk(files):
        yield from (os.path.relpath(os.path.join(folder, name), files) for name in names)


def _own_program() -> str:
    """Return the path of the console command that runs now."""
    import sysconfig

    beside = os.path.join(sysconfig.get_path("scripts"), PROGRAM)
    return beside if os.access(beside, os.X_OK) else os.path.realpath(sys.argv[0])


def _require_safe(program: str) -> None:
    """Raise StateError where root's service mustn't or can't run this program."""
    for path in (program, __file__):
        if (foreign := find_foreign(split(os.path.dirname(os.path.realpath(path))))) is not None:
            raise StateError(
                f"the service would run {program} as root, and others can write {foreign.path}: {_MINE_INSTEAD}"
            )
        if os.path.realpath(path).startswith(_HIDDEN):
            raise StateError(f"the service can't see {path}, as its sandbox hides home folders: {_MINE_INSTEAD}")
    if not re.fullmatch(r"[\w./+-]+", program):
        raise StateError(f"a unit can't name {program}: {_MINE_INSTEAD}")


def _reported(path: str, write: Callable[[], str]) -> int:
    """Call `write`, which returns a line about the file, and print that; return the exit status."""
    try:
        with naming(path):
            done = write()
    except OSError as error:
        complain(f"{path} isn't written: {error.strerror}")
        return os.EX_IOERR
    print_lines([done])
    return os.EX_OK


def _written(path: str, content: bytes) -> str:
    """Write a file unless it is there, and return a line about that. Raises OSError."""
    name, done = os.path.basename(path), f"wrote {path}"
    with _opened_folder(os.path.dirname(path)) as folder:
        before = _read(name, folder)
        if before == content:
            return f"unchanged: {path}"
        if before is not None and path.endswith(CONFIGURATION):
            return f"kept, as it is yours: {path}"
        temporary = f".{name}.{os.getpid()}.{os.urandom(6).hex()}"
        try:
            write(temporary, content, folder)
            if before is not None:
                backup = _free_name(f"{name}.old", folder)
                os.link(name, backup, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
                done = f"wrote (the one before is {backup} now) {path}"
            os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=folder)
    return done


def _linked(path: str, program: str) -> str:
    """Link the command into a folder of PATH, and return a line about that. Raises OSError."""
    with _opened_folder(os.path.dirname(path)) as folder:
        try:
            os.symlink(program, os.path.basename(path), dir_fd=folder)
        except FileExistsError as error:
            if os.path.realpath(path) == os.path.realpath(program):
                return f"unchanged: {path}"
            error.strerror = "there is another one already, which the service doesn't call"
            raise
    return f"wrote {path}, a link to {program}"


def _opened_folder(path: str) -> AbstractContextManager[int]:
    """Open a folder, made if need be, and follow only links that nobody but root can change. Raises OSError."""
    parts = split(path)
    return opened_split(parts, make_last=len(parts.rest))


def _read(name: str, folder: int) -> bytes | None:
    """Return the contents of a file; None where it doesn't exist. Raises OSError, also for a link or a folder."""
    try:
        with open(open_file(name, folder=folder), "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


def _free_name(name: str, folder: int) -> str:
    names, number = set(os.listdir(folder)), 1
    while (free := f"{name}{number if number > 1 else ''}") in names:
        number += 1
    return free


def _succeeds(*command: str) -> bool:
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, env=os.environ | {"PATH": _PATH}, check=False)  # noqa: S603 - fixed commands
    except OSError:
        return False
    return done.returncode == 0


def _next_steps() -> Iterator[str]:
    yield ""
    if os.path.isdir(BOOTED) and _succeeds("systemctl", "--quiet", "is-enabled", PROGRAM):
        yield f"Next: sudo systemctl restart {PROGRAM}"
    else:
        yield f"Next: set url in {CONFIGURATION}, then: sudo systemctl enable --now {PROGRAM}"
