"""Kills the program, or lets a call of it fail, at each of its system calls in turn: `python -m each_call --help`.

A picture's whole life is one run of `drain`: taken in, sent to a store or a server, removed by retention. Every call
that touches the card, the state folder, the store, a socket, a pipe, a thread or the log is counted, whatever library
makes it; what the interpreter reads of itself, and what /proc and /etc say, isn't. A moment is named by the call, what
it touches, and the how manieth of these it is, so that it is the same in each run, however the threads' calls mix.

To be killed after a call is to be killed before the next that changes something: nothing else has changed until then.
"""

import json
import os
import shutil
import sys

from power_cuts import in_private

from .seccomp import reason_to_skip as _why_calls_cannot_be_stopped

TOOLS = ("mount", "unshare")


def reason_to_skip():
    """Return why no life can be attacked here; None where nothing is in the way."""
    if os.geteuid() != 0:
        return "only root can mount a card of its own for each attack"
    if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
        return f"missing, to mount a card with: {', '.join(missing)}: apt-get install mount util-linux"
    done = in_private(["mount", "-t", "tmpfs", "tmpfs", "/mnt"], timeout=60)
    if done.returncode:
        return f"no card can be mounted here: {done.stderr.strip()}"
    return _why_calls_cannot_be_stopped()


def attack(kind, folder, *options, timeout):
    """Run `python -m each_call` with these options in an empty folder; returns the figures that it prints."""
    done = in_private([sys.executable, "-m", "each_call", kind, str(folder), *map(str, options)], timeout=timeout)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout)
