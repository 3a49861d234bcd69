"""The service under attack: started, stopped for the moment of a cut, ended; and what it has said it did."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

PATIENCE = 60.0
CONFIG = "picture_interval = 31622400\n[retention]\nkeep_days = 0\n"
SAID = {"taken_in": "taken in", "uploaded": "uploaded", "removed": "removed from the card"}


def flags_of(folder, card, server):
    """Return the flags of a trap with this card, which keeps nothing on it and sends to a store in `folder`.

    With a server, it sends there. The files that it takes are made.
    """
    (folder / "store").mkdir()
    (folder / "config.toml").write_text(CONFIG, "ascii")
    flags = ["--config", f"{folder}/config.toml", "--image-dir", f"{card}"]
    if server is None:
        return [*flags, "--api-url", f"file://{folder}/store"]
    (folder / "password").write_text("pollen", "ascii")
    (folder / "password").chmod(0o600)
    return [*flags, "--api-url", server.url, "--username", "trap", "--password-file", f"{folder}/password"]


class Service:
    """A real `sticky-pi-uploader run`, again and again, with one log."""

    def __init__(self, flags, log, environment):
        """Start it with these flags."""
        self._command = [sys.executable, "-m", "sticky_pi_uploader", *flags, "run"]
        self._log = Path(log)
        self._environment = environment
        self._process = None
        self.start()

    def start(self):
        """Start it."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stderr=log, env=self._environment)

    def end(self, number):
        """End it by a signal, and wait for it."""
        self._process.send_signal(number)
        if (status := self._process.wait(PATIENCE)) not in (0, -number, -signal.SIGKILL):
            raise RuntimeError(f"the service ended with {status}: {self._log.read_text()[-2000:]}")

    def hold(self):
        """Stop it where it is."""
        if self._process.poll() is not None:
            raise RuntimeError(f"the service has ended: {self._log.read_text()[-2000:]}")
        self._process.send_signal(signal.SIGSTOP)

    def wait_until_still(self):
        """Wait until what its threads are at in the kernel is done."""
        deadline = time.monotonic() + PATIENCE
        while any(state != "T" for state in self._states()):
            if time.monotonic() > deadline:
                raise RuntimeError("the service doesn't stop")
            time.sleep(0.0005)

    def go_on(self):
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def said(self):
        """Return the names of the pictures that it has said it took in, uploaded and removed."""
        log = self._log.read_text()
        return {what: set(re.findall(rf"([^\s/]+\.jpg): {words}", log)) for what, words in SAID.items()}

    def _states(self):
        for task in Path(f"/proc/{self._process.pid}/task").iterdir():
            yield (task / "stat").read_text().rpartition(")")[2].split()[0]
