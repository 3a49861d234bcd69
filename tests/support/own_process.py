"""Run a helper of the tests in a process of its own, steered by lines of JSON on its standard input.

The helper ends when its standard input does, so that none outlives the tests, however these end.
"""

import json
import os
import subprocess
import sys
import threading
from dataclasses import asdict, replace
from pathlib import Path

SUPPORT = Path(__file__).parent
PATIENCE = 10.0
"""Seconds that a helper gets to end by itself"""


class OwnProcess:
    """A `python -m <module> <settings>`, running inside `with`; its first line says on which port it listens.

    The settings are a dataclass with a `port`, 0 for any that is free; the port stays the same after a restart.
    """

    module: str
    """each subclass has its own"""

    def __init__(self, settings, python=(sys.executable,)):
        """Keep the settings; `python` is the command line that Python is started with."""
        self._settings, self._python = settings, python
        self._one_at_a_time = threading.Lock()

    def __enter__(self):
        """Start it."""
        self.start()
        return self

    def __exit__(self, *_):
        """Stop it."""
        self.stop()

    @property
    def port(self):
        """The port that it listens on, the same after a restart."""
        return self._settings.port

    def start(self):
        """Start the process; it listens when this returns."""
        self._process = subprocess.Popen(
            [*self._python, "-m", self.module, *self._arguments()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(SUPPORT), *filter(None, sys.path)])},
            start_new_session=True,  # Ctrl-C is for the tests; they end the helper
        )
        try:
            self._settings = replace(self._settings, port=self._read()["port"])
        except BaseException:
            self.stop()
            raise

    def stop(self):
        """End the process, whatever it is doing, and wait for it."""
        self._process.stdin.close()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def ask(self, command):
        """Send a command, and return the answer once it is in force."""
        with self._one_at_a_time:
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
            return self._read()

    def _arguments(self):
        return [json.dumps(asdict(self._settings))]

    def _read(self):
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.module} has ended: its messages are on standard error")
        return json.loads(line)


def say(answer):
    """Write an answer, from inside the helper, for `OwnProcess` to read."""
    print(json.dumps(answer), flush=True)
