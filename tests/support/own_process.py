"""Runs a helper of the tests in a process of its own, steered by lines of JSON on its standard input.

The helper ends when its standard input does, so that none outlives the tests, however these end.
"""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

SUPPORT = Path(__file__).parent
PATIENCE = 10.0
"""Seconds that a helper gets to end by itself"""


class OwnProcess:
    """A running `python -m <module> <arguments>`; its first line said on which port it listens.

    `python` is the command line that Python is started with.
    """

    def __init__(self, module, *arguments, python=(sys.executable,)):
        self._one_at_a_time = threading.Lock()
        self._process = subprocess.Popen(
            [*python, "-m", module, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(SUPPORT), *filter(None, sys.path)])},
            start_new_session=True,  # Ctrl-C is for the tests; they end the helper
        )
        try:
            self.port = self._read()["port"]
        except BaseException:
            self.stop()
            raise

    def ask(self, command):
        """Send a command, and return the answer once it is in force."""
        with self._one_at_a_time:
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
            return self._read()

    def stop(self):
        """End the process and wait for it."""
        self._process.stdin.close()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def _read(self):
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{' '.join(self._process.args[1:])} has ended: its messages are on standard error")
        return json.loads(line)


def say(answer):
    """Write an answer, from inside the helper, for `OwnProcess` to read."""
    print(json.dumps(answer), flush=True)
