"""The program as tests start it: a process of its own, whose environment has only the variables that a test gives."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import sticky_pi_uploader

SOURCE = Path(sticky_pi_uploader.__file__).parents[1]
PATIENCE = 60.0
"""Seconds that a command, the end of a service, or what is waited for may take on a busy machine"""


def environment(**more):
    """Return an environment in which the program is found, with some variables more."""
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(SOURCE)} | more


class Program:
    """The console command with some flags: each of its warnings is an error."""

    def __init__(self, *flags, before=(), **variables):
        """Keep the flags, the words that stand before the command line, and more variables of its environment."""
        self._before, self._flags, self._variables = before, flags, variables

    def command(self, *arguments, flags=None):
        """Return a command line, with other flags if they are given."""
        words = [*self._before, sys.executable, "-W", "error", "-m", "sticky_pi_uploader"]
        return [str(word) for word in (*words, *(self._flags if flags is None else flags), *arguments)]

    def run(self, *arguments, flags=None, variables=None, **more):
        """Run a command to its end."""
        return subprocess.run(
            self.command(*arguments, flags=flags),
            env=environment(**self._variables, **(variables or {})),
            check=False,
            **{"capture_output": True, "text": True, "timeout": PATIENCE, **more},
        )

    def start(self, *arguments, **more):
        """Start a command beside the test."""
        return subprocess.Popen(self.command(*arguments), env=environment(**self._variables), **more)

    @contextmanager
    def service(self, log):
        """Run the service for a while, and add what it says to a log.

        It is told to end with the block, and then has to end well, unless the block killed it.
        """
        with open(log, "ab") as stderr:
            process = self.start("run", stderr=stderr)
        try:
            yield process
            process.terminate()
            assert process.wait(PATIENCE) in (0, -signal.SIGKILL), Path(log).read_text("utf-8")
        finally:
            process.kill()
            process.wait()


def eventually(condition, patience=PATIENCE):
    """Wait until a condition is met; returns what it gave."""
    deadline = time.monotonic() + patience
    while not (found := condition()):
        assert time.monotonic() < deadline, "it didn't happen in time"
        time.sleep(0.02)
    return found


def python(code, *arguments, **more):
    """Run code in a Python of its own, which finds all that this one does."""
    found = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    options = {"env": found, "capture_output": True, "text": True, "timeout": PATIENCE}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, check=more.pop("check", False), **options | more)


def loaded_by(code, *arguments):
    """Return the names of the modules that are loaded once code has run in a Python of its own."""
    return set(python(f"{code}\nimport sys; print(*sys.modules)", *arguments, check=True).stdout.split())
