"""Read the service's systemd unit as it is in force, with its drop-ins: the rights of its program, and its folders.

Everybody may read it. On a trap that wakes for a minute, the unit of the timer's round is the one in force.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Final, NamedTuple

from sticky_pi_api.filesystem.mounts import is_within

from ..config.schema import FLAGS
from ..state_dir.privileges import BOOTED

SERVICE: Final = "sticky-pi-uploader.service"
ROUND: Final = "sticky-pi-uploader-drain.service"
TIMER: Final = "sticky-pi-uploader-drain.timer"

HOMES: Final = ("/home", "/root", "/run/user")
"""Folders that ProtectHome= hides"""

_NOT_FOR_COMMANDS: Final = re.compile(
    r"Exec(Condition|Start|Reload|Stop)|(Exit)?Type|Restart|Timeout|Watchdog|Notify|RuntimeDirectory|RuntimeMax"
    r"|SuccessExit|RemainAfterExit|Kill|SendSIG|Standard|TTY|WorkingDirectory|X-|FailureAction|SuccessAction|StartLimit"
    r"|RebootArgument|OOMPolicy|Sockets|BusName|PIDFile|FileDescriptorStore"
)
"""Beginnings of lines about the service's start and end, its terminal and its sockets, which no command may get"""

_HAS_RELATIVE_PATH: Final = re.compile(r"ReadWritePaths=[-+]*[^-+/\s].*")
"""Lines that systemd ignores in a unit, as their first path is relative, and refuses for a command"""

_NAME: Final = "sticky-pi-uploader"

_STARTED: Final = ("run", "drain")
"""The commands that a unit of the service starts"""


class ServiceUnit(NamedTuple):
    """A unit of the service, as it is in force."""

    name: str
    lines: tuple[str, ...]
    """`Name=value`, of its [Service] section and those of its drop-ins, in their order"""
    outside: tuple[str, ...] = ()
    """its files with lines above any section, which systemd ignores"""

    @property
    def for_commands(self) -> list[str]:
        """The lines that give a command the service's user, credentials and limits."""
        lines = (line for line in self.lines if not _NOT_FOR_COMMANDS.match(line))
        return [line for line in lines if not _HAS_RELATIVE_PATH.fullmatch(line)]

    @property
    def program(self) -> list[str]:
        """The words that start its program, with its flags, up to the command; none where they aren't known."""
        words = self._command
        at = next((number for number, word in enumerate(words) if number and word in _STARTED), None)
        if at is None:
            return []
        return [*words[:at], *(f"{FLAGS[name]}={value}" for name, value in _flags(words[at:]).items())]

    @property
    def flags(self) -> dict[str, str]:
        """The configuration flags of its program, by the names of the configuration."""
        return _flags(self._command)

    @property
    def _command(self) -> list[str]:
        return _words((self.values("ExecStart") or [""])[-1].lstrip("-@:+!"))

    @property
    def environment(self) -> dict[str, str]:
        """The variables that the unit sets itself, without files of them."""
        return dict(word.partition("=")[::2] for value in self.values("Environment") for word in _words(value))

    @property
    def user(self) -> str:
        """The user that it runs as."""
        return (self.values("User") or ["root"])[-1]

    def lets_in(self, folder: str) -> bool:
        """Return whether one of its lines lets it write in a folder."""
        places = [word.lstrip("-+") for value in self.values("ReadWritePaths") for word in _words(value)]
        return any(place.startswith("/") and is_within(folder, os.path.normpath(place)) for place in places)

    def hides(self, folder: str) -> bool:
        """Return whether a folder is in one of the homes that the sandbox hides."""
        is_on = (self.values("ProtectHome") or ["no"])[-1].lower() in {"yes", "true", "1", "on", "tmpfs"}
        return is_on and any(is_within(folder, home) for home in HOMES)

    def values(self, name: str) -> list[str]:
        """Return the values of a setting that are in force; of one that isn't a list, the last is."""
        values: list[str] = []
        for line in self.lines:
            if line.startswith(f"{name}="):
                values = [*values, value] if (value := line.partition("=")[2]) else []
        return values


def find_unit() -> ServiceUnit | None:
    """Return the service's unit, or that of the round where only its timer is in use; None where it isn't installed."""
    if not os.path.isdir(BOOTED):
        return None
    return read_unit(ROUND if is_in_use(TIMER) and not is_in_use(SERVICE) else SERVICE)


def read_unit(name: str) -> ServiceUnit | None:
    """Return a unit with the drop-ins that this user may read; None where it isn't installed."""
    found = show(name)
    if found.get("LoadState") != "loaded":
        return None
    return _read_files(name, [found.get("FragmentPath", ""), *_words(found.get("DropInPaths", ""))])


def _read_files(name: str, paths: Sequence[str]) -> ServiceUnit:
    """Return the unit that these files make. Each begins outside of any section."""
    lines: list[str] = []
    outside = []
    for path in paths:
        with suppress(OSError), open(path, encoding="utf-8", errors="surrogateescape") as file:
            found = [*_parse(file.read())]
            lines += (line for section, line in found if section == "[Service]")
            outside += [path] if found and not found[0][0] else []
    return ServiceUnit(name, tuple(lines), tuple(outside))


def is_in_use(name: str) -> bool:
    """Return whether a unit is started at each boot, or was started."""
    found = show(name)
    is_enabled = found.get("UnitFileState", "").startswith(("enabled", "linked"))
    return is_enabled or found.get("ActiveState") not in {None, "inactive", "failed"}


def drop_in(unit: str, name: str) -> str:
    """Return the path of a unit's drop-in of this name."""
    return f"/etc/systemd/system/{unit}.d/{name}"


def restart(unit: str) -> str:
    """Return the command that starts a unit anew, with its files as they are now."""
    return f"sudo systemctl daemon-reload && sudo systemctl {'restart' if unit == SERVICE else 'start'} {unit}"


def _parse(text: str) -> Iterator[tuple[str, str]]:
    """Yield the section and the text of each `Name=value` in a file of a unit, in their order (systemd.syntax(7))."""
    section, begun = "", ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith(("#", ";")):
            continue  # also between the parts of a line that goes on
        begun += line
        if begun.endswith("\\"):
            begun = f"{begun[:-1]} "
            continue
        whole, begun = begun.strip(), ""
        name, equals, value = whole.partition("=")
        if whole.startswith("["):
            section = whole
        elif equals:
            # The specifiers that only unit files have (systemd.unit(5)), as far as they are likely here.
            yield section, f"{name.rstrip()}={value.strip().replace('%N', _NAME).replace('%%', '%')}"


def show(name: str) -> dict[str, str]:
    """Return a unit's state and files as systemd reports them; nothing where it doesn't answer."""
    properties = "--property=LoadState,UnitFileState,ActiveState,NeedDaemonReload,FragmentPath,DropInPaths"
    return dict(line.partition("=")[::2] for line in _systemctl("show", properties, name).splitlines())


def _systemctl(*arguments: str) -> str:
    """Return the output of systemctl; nothing where it fails."""
    command, patience = ("systemctl", *arguments), 20  # seconds
    with suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=patience, check=False)
        return os.fsdecode(done.stdout)
    return ""


def _flags(words: Sequence[str]) -> dict[str, str]:
    parts = [part for word in words for part in (word.split("=", 1) if word[:2] == "--" else [word])]
    return {name: value for flag, value in pairwise(parts) for name in FLAGS if FLAGS[name] == flag}


def _words(value: str) -> list[str]:
    with suppress(ValueError):  # a quote without its end
        return shlex.split(value)
    return []
