"""Runs the program with each of its calls counted, and lets something happen at one of them."""

import atexit
import os
import re
import resource
import signal
import socket
import sys
import threading
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field

from .calls import OPEN_FLAGS_THAT_CHANGE, call_of, passing
from .seccomp import Listener, install

PATIENCE = 120.0
"""Seconds that one run may take on a busy machine"""

_HERE = 0xFFFFFF9C
"""AT_FDCWD, which stands for the working directory"""

_FIRST_OPEN_FLAGS = {"open": 1, "openat": 2}
_VARYING = (
    (re.compile(r"(/[0-9a-f]{2})?/[0-9a-f]{32}|/[0-9a-f]{2}$"), "/<md5>"),
    (re.compile(r"\.\d+\.[0-9a-f]{8}\."), ".<unique>."),
    (re.compile(r"\d{8}T\d{6}Z|\d{4}-\d\d-\d\d(_\d\d-\d\d-\d\d)?"), "<time>"),
)
_NOT_FILES = {"socket:": "socket", "pipe:": "pipe", "anon_inode:inotify": "inotify", "anon_inode:": "waiting"}


@dataclass(frozen=True, slots=True)
class Point:
    """A moment in a life: before the `nth` of its calls that are alike."""

    call: str
    """its name and what it works on"""
    nth: int

    def __str__(self):
        """Say which, as the tests print it."""
        return f"{self.call} #{self.nth}"


@dataclass(frozen=True, slots=True)
class Happening:
    """What happens at a point: the process is killed (no error), or the call fails once with this error."""

    point: Point
    error: str | None = None


@dataclass(slots=True)
class Run:
    """One run of the program, ended."""

    status: int
    """the exit status, or the negative number of the signal that ended it"""
    said: str
    """on its standard error"""
    changing: Counter = field(default_factory=Counter)
    """how often each call came that changes something outside the process, or waits for somebody else"""
    others: Counter = field(default_factory=Counter)
    """the same of calls that read, ask, open and wait"""
    happened: bool = False


class Program:
    """The program with its flags and the folders whose calls count; each run is a process of its own.

    A run is forked from this process, which has loaded all that the program needs: so it starts in no time, and its
    calls are the program's, hardly any the interpreter's. `fresh`, it is started as anybody would start it.
    """

    def __init__(self, flags, places, log, *, fresh=False):
        """Count the calls that touch one of `places` (names by folder), sockets, pipes, threads, and the `log`."""
        self.flags = flags
        self._log = os.fspath(log)
        self._places = sorted(((os.fspath(folder), name) for folder, name in places.items()), reverse=True)
        self._fresh = fresh

    def run(self, *command, happening=None, watched=True, seconds=PATIENCE, descriptors=None):
        """Run a command to its end, count its calls, and let something happen at one of them.

        It may have so many `descriptors` at most; None for as many as the tests may have.
        """
        ours, theirs = socket.socketpair()
        with ours, theirs:
            child = os.fork()
            if not child:
                self._be([*self.flags, *command], theirs if watched else None, descriptors)
            theirs.close()
            run = Run(0, "")
            try:
                if watched:
                    self._attend(run, child, ours, happening, time.monotonic() + seconds)
            except BaseException:
                os.kill(child, signal.SIGKILL)
                raise
            finally:
                run.status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        with open(self._log, encoding="utf-8") as log:
            run.said = log.read()
        return run

    def _be(self, arguments, wire, descriptors):
        """Become the program; doesn't return."""
        status = 99
        try:
            log = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            os.dup2(log, 1)
            os.dup2(log, 2)
            os.close(log)
            # As the interpreter makes them: those of the tests may be made for pipes, and written in other calls.
            sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
            sys.stderr = open(2, "w", 1, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
            if wire is not None:
                install(passing(), wire)
            if descriptors is not None:
                os.closerange(3, os.sysconf("SC_OPEN_MAX"))
                resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
            if self._fresh:
                os.execv(sys.executable, [sys.executable, "-m", "sticky_pi_uploader", *arguments])
            from sticky_pi_uploader.cli.main import main

            status = main(arguments)
            # What the interpreter does at its end.
            threading._shutdown()
            atexit._run_exitfuncs()
            sys.stderr.flush()
        except BaseException:  # noqa: BLE001  # it would go on as a copy of the tests
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(status)

    def _attend(self, run, child, wire, happening, ends_at):
        with closing(Listener(wire)) as listener:
            while (notice := listener.next(ends_at - time.monotonic())) is not None:
                call, place = call_of(notice.number), self._place(notice)
                if place is None:
                    listener.answer(notice)
                    continue
                name, changes = _name(call, notice), _changes(call, place, notice)
                point = f"{name} {place}"
                counts = run.changing if changes else run.others
                counts[point] += 1
                if happening is None or happening.point != Point(point, counts[point]):
                    listener.answer(notice)
                    continue
                run.happened = True
                if happening.error is None:
                    os.kill(child, signal.SIGKILL)
                else:
                    listener.answer(notice, happening.error)

    def _place(self, notice):
        """Say what a call works on; None where that is none of the program's."""
        first, second = notice.arguments[:2]
        match call_of(notice.number).on:
            case "descriptor":
                return self._opened(notice, first)
            case "mapped":
                return self._opened(notice, notice.arguments[4])
            case "polled":
                return self._opened(notice, notice.number_at(first)) if second else None
            case "path":
                return self._named(notice.text(first))
            case "at":
                path = notice.text(second)
                return self._named(_from(notice, first, path)) if path else self._opened(notice, first)
            case on:
                return on

    def _opened(self, notice, descriptor):
        opened = notice.opened(descriptor & 0xFFFFFFFF)
        for start, name in _NOT_FILES.items():
            if opened.startswith(start):
                return name
        return self._named(opened)

    def _named(self, path):
        path = path.removesuffix(" (deleted)")
        for folder, name in self._places:
            if path == folder or path.startswith(folder + "/"):
                below = path[len(folder) :]
                for pattern, word in _VARYING:
                    below = pattern.sub(word, below)
                return name + below
        return None


def _from(notice, descriptor, path):
    """Give the path of a name that counts from an open folder."""
    number = descriptor & 0xFFFFFFFF
    return path if number == _HERE else os.path.join(notice.opened(number), path)


def _changes(call, place, notice):
    if call.name in _FIRST_OPEN_FLAGS:
        return bool(notice.arguments[_FIRST_OPEN_FLAGS[call.name]] & OPEN_FLAGS_THAT_CHANGE)
    # While an answer is waited for, the other side is at work: what was sent is sent, and nothing else has come yet.
    return call.changes or (place == "socket" and call.name in ("recvfrom", "read", "readv", "poll"))


def _name(call, notice):
    is_making = call.name in _FIRST_OPEN_FLAGS and _changes(call, "", notice)
    return f"{call.name}+" if is_making else call.name
