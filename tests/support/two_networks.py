"""Two networks of the tests' own, joined by one link: a trap's and a server's. Processes run in one of them."""

import os
import shutil
import subprocess
import time
from contextlib import ExitStack

SERVER, TRAP = "10.77.0.1", "10.77.0.2"
"""The addresses at the two ends of the link"""
FAR = "10.78.0.1"
"""Another address of the server's, which the trap needs a default route for"""
LINK = "uplink"
"""The trap's end"""

_TOOLS = ("ip", "nsenter", "unshare")
_TRIAL = "ip link add there type veth peer name here"


def reason_to_skip():
    """Return why there can be no such networks here; None where nothing is in the way."""
    if os.geteuid() != 0:
        return "only root can make networks"
    if missing := [tool for tool in _TOOLS if shutil.which(tool) is None]:
        return f"missing, to make networks with: {', '.join(missing)} (apt-get install iproute2 util-linux)"
    done = subprocess.run(["unshare", "--net", *_TRIAL.split()], capture_output=True, text=True, check=False)
    return f"no networks can be made here: {done.stderr.strip()}" if done.returncode else None


class TwoNetworks:
    """Both, inside `with`; the link is down, and nothing at the trap's end has an address."""

    def __enter__(self):
        """Make them: each lives as long as a process in it."""
        with ExitStack() as stack:
            self._trap, self._server = (stack.enter_context(_Network()) for _ in range(2))
            self.trap_ip(f"link add {LINK} type veth peer name downlink netns {self._server.process.pid}")
            self.trap_ip("link set lo up")
            for line in (
                "link set lo up",
                f"addr add {SERVER}/24 dev downlink",
                f"addr add {FAR}/32 dev lo",
                "link set downlink up",
            ):
                self.server_ip(line)
            self._exit = stack.pop_all()
        return self

    def __exit__(self, *exception):
        """End them."""
        self._exit.__exit__(*exception)

    @property
    def of_trap(self):
        """What stands before a command line to run it in the trap's network."""
        return self._trap.enter

    @property
    def of_server(self):
        """The same for the server's."""
        return self._server.enter

    def is_joined(self):
        """Tell whether the link runs, as the trap sees it."""
        command = [*self.of_trap, "ip", "-oneline", "link", "show", LINK]
        return " state UP " in subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def trap_ip(self, *lines):
        """Have `ip` do these things in the trap's network."""
        _ip(self.of_trap, lines)

    def server_ip(self, *lines):
        """Have `ip` do these things in the server's network."""
        _ip(self.of_server, lines)


def _ip(enter, lines):
    command = [*enter, "ip", "-batch", "-"]
    subprocess.run(command, input="".join(f"{line}\n" for line in lines), text=True, check=True, timeout=60)


class _Network:
    def __enter__(self):
        self.process = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
        deadline = time.monotonic() + 10
        own, its = (f"/proc/{pid}/ns/net" for pid in ("self", self.process.pid))
        while os.readlink(own) == os.readlink(its):
            assert time.monotonic() < deadline, "no network of its own"
            time.sleep(0.01)
        self.enter = ("nsenter", f"--net={its}")
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
