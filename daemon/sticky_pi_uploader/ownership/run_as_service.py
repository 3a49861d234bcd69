"""Run a command of root's as the service would: in a transient unit with the user, credentials and limits of its unit.

The command's output is handed on as it is, so that the terminal's width and colours are the command's own. This process
waits for its end, and hands signals on: Ctrl-C reaches this one only.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from ..config import CONFIG_FLAG, load
from ..state_dir.mounts import lost_files
from ..state_dir.trusted_path import split
from .service_unit import ServiceUnit, find_unit
from .viewpoint import Viewpoint, another_trap, service_config

LOST_FILES: Final = "STICKY_PI_LOST_FILES"
"""The variable that tells `check` how many files root found in lost+found, which the service can't read"""

_HANDED_ON: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_AGAIN: Final = 0.1
"""Seconds after which a signal is sent once more, as the unit isn't there yet"""

_REFUSED: Final = 1
"""How systemd-run ends where it doesn't take a line that systemd itself ignores; a command may end so, too"""

_UNKNOWN: Final = re.compile(r"^Unknown assignment: (.*)$", re.MULTILINE)
"""The message of systemd-run about a line that systemd itself ignores"""

_LIMITS: Final = re.compile(
    r"(User|Group|SupplementaryGroups|DynamicUser|(Load|Set)Credential(Encrypted)?|CapabilityBoundingSet"
    r"|Protect(System|Home|Proc|Clock|ControlGroups|Hostname|Kernel(Logs|Modules|Tunables))"
    r"|Private(Tmp|Devices|Mounts|Users|Network)|Restrict(SUIDSGID|Namespaces|Realtime|AddressFamilies)"
    r"|SystemCall(Filter|ErrorNumber|Architectures)|(ReadWrite|ReadOnly|Inaccessible)Paths|NoNewPrivileges"
    r"|AmbientCapabilities)="
)
"""Lines without which a command would have other rights than the service"""

_NOT_STARTED: Final = range(200, 255)
"""How a unit ends whose program couldn't be started (systemd.exec(5))"""

_BROKEN_OFF: Final = 255
"""How systemd-run ends where a signal ended the command"""

_OF_TERMINAL: Final = ("COLUMNS", "LINES", "TERM", "COLORTERM", "NO_COLOR", "LANG", "LC_ALL", "LC_CTYPE")
"""Variables of the caller's that a command gets; nothing else of its environment is handed on"""


def run_as_service(command: str, flags: Mapping[str, Any], typed: Sequence[str]) -> int | Viewpoint:
    """Run the `typed` command as the service does, and return its exit status, or with whose rights it has to go on.

    `flags` are the arguments of the command, those of the configuration by its names.
    """
    from shutil import which  # it takes long to load, and the modules of `check` import this one

    unit = find_unit()
    if unit is None:
        return Viewpoint()
    if (other := another_trap(unit, flags, os.environ)) is not None:
        return Viewpoint(note=f"{other}: this works with your rights, not with the service's")
    handed_on = {name: os.environ[name] for name in _OF_TERMINAL if name in os.environ}
    if command == "check":
        handed_on[LOST_FILES] = str(lost_files(service_config(unit, flags)[0].image_dir))
    program = unit.program
    if not program or which(program[0]) is None:
        missing = f"there is no {program[0]}" if program else "its ExecStart= has neither the word run nor drain"
        why = f"it isn't known how {unit.name} starts its program: {missing}"
        return _without_unit(unit, why, command, flags)
    if command == "drain":  # as at each start of the service; the command itself reports missing folders
        environ = {**unit.environment, "PATH": os.environ.get("PATH", os.defpath)}
        prepare = ["timeout", "20", *program, "prepare", f"--user={unit.user}"]
        subprocess.run(prepare, env=environ, capture_output=True, check=False)
    name = f"sticky-pi-uploader-{command}-{os.getpid()}.service"
    files = frozenset(flags.get("files") or ())
    words = [*program, *(_from_here(word) if word in files else word for word in typed)]
    status = _run(_transient(unit.for_commands, name, words, handed_on), name)
    if status == _REFUSED or status in _NOT_STARTED:
        lines, problem = _accepted(unit)
        if problem is None and lines != unit.for_commands:
            status = _run(_transient(lines, name, words, handed_on), name)
        if problem is None and status in _NOT_STARTED:
            problem = f"{program[0]} can't be started (status {status})"
        if problem is not None:
            why = f"systemd can't start a program as {unit.name} does: {problem}"
            return _without_unit(unit, why, command, flags)
    return status


def _without_unit(unit: ServiceUnit, why: str, command: str, flags: Mapping[str, Any]) -> Viewpoint:
    """Return with whose rights a command goes on that can't be run as the service is.

    One that needs no password goes on as the state folder's owner, if the configuration is the service's.
    """
    config = load(flags, os.environ, flags.get(CONFIG_FLAG), problems=[])
    is_the_same = config._replace(flags=()) == service_config(unit, flags)[0] and os.path.isdir(config.state_dir)
    if is_the_same and (command in {"retry", "dismiss"} or (command == "audit" and not flags.get("verify"))):
        return Viewpoint(note=f"{why}; this goes on without the service's credentials and limits")
    return Viewpoint(unit, is_outsider=True, note=why)


def _accepted(unit: ServiceUnit) -> tuple[list[str], str | None]:
    """Return the unit's lines without those that systemd doesn't know, and why no program can be started with them."""
    lines = unit.for_commands
    status, said = _try(lines)
    while (unknown := _UNKNOWN.search(said)) is not None and unknown[1] in lines and not _LIMITS.match(unknown[1]):
        lines = [line for line in lines if line != unknown[1]]
        status, said = _try(lines)
    return lines, None if status == os.EX_OK else said or f"status {status}"


def _try(lines: Sequence[str]) -> tuple[int, str]:
    command = _transient(lines, None, ["true"], {})
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return done.returncode, os.fsdecode(done.stderr).strip()


def _transient(lines: Sequence[str], name: str | None, words: Sequence[str], environ: Mapping[str, str]) -> list[str]:
    """Return the command line of systemd-run for a command in a transient unit with these lines."""
    # A oneshot tells whether a signal ended it: the end of any other counts as clean then.
    properties = ("Type=oneshot", f"WorkingDirectory=-{_here()}", *lines)
    return [
        *("systemd-run", "--quiet", "--wait", "--collect", "--pipe"),
        *([f"--unit={name}"] if name else []),
        *(f"--property={line}" for line in properties),
        *(f"--setenv={variable}={value}" for variable, value in environ.items()),
        *("--", *(word.replace("$", "$$") for word in words)),  # systemd replaces variables in a command
    ]


def _here() -> str:
    """Return the current folder, from which paths may start, if root alone decides where it leads; otherwise /."""
    with suppress(OSError):  # it was removed
        here = split(os.getcwd())
        return "/" if here.rest else here.trusted
    return "/"


def _from_here(file: str) -> str:
    """Return the absolute path of a file that is meant by a path from the current folder, if that isn't handed on."""
    with suppress(OSError):  # the folder was removed
        if os.getcwd() != _here() and (file.startswith(".") or os.path.lexists(file)):
            return os.path.abspath(file)
    return file


def _run(command: Sequence[str], name: str) -> int:
    """Run systemd-run, hand signals on to the unit, and return the exit status."""
    wanted = {number for number in _HANDED_ON if signal.getsignal(number) != signal.SIG_IGN}
    awaited = {*wanted, signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    try:
        # In a session of its own, systemd-run gets none of the terminal's signals.
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
        caught = to_send = 0
        while process.poll() is None:
            found = signal.sigtimedwait(awaited, _AGAIN) if to_send else signal.sigwaitinfo(awaited)
            if found is not None and found.si_signo in wanted:
                caught = to_send = found.si_signo
            if to_send and _send(to_send, name):
                to_send = 0
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return 128 + caught if caught and process.returncode == _BROKEN_OFF else process.returncode


def _send(number: int, name: str) -> bool:
    """Send a signal to a unit; return False where the unit isn't there yet."""
    kill = ["systemctl", "kill", f"--signal={number}", name]
    return subprocess.run(kill, capture_output=True, check=False, start_new_session=True).returncode == os.EX_OK
