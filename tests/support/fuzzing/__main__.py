"""Tries the inputs of one target, and prints the figures as JSON, the examples of what went wrong among them."""

import argparse
import faulthandler
import importlib
import json
import resource
import sys
import time
import traceback
import warnings
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path
from random import Random

from . import LONGEST, MOST_MEMORY, SHARES

HUNG = 60.0
"""Seconds after which an input that waits for something ends the process, which then says where"""
NOT_MINE = 2**30
"""bytes of address space beyond the bound, so that what exceeds it is seen, and the machine is safe all the same"""
EXAMPLES = 10
WARM_UP = 25
"""Inputs until all that is imported when it is needed is there"""


def main():
    options = _arguments()
    target = importlib.import_module(f"fuzzing.{options.target}").Target(options.folder)
    with closing(target):
        figures = _Fuzzing(options.target, target, watched=_bound_memory()).run(options.first, options.inputs)
    print(json.dumps(figures))


class _Fuzzing:
    """Inputs of one target, and what came of them."""

    def __init__(self, name, target, *, watched):
        self._name = name
        self._target = target
        self._memory = _PeakMemory() if watched else None
        self._ends = Counter()
        self._wrong = Counter()
        self._examples = []
        self._slowest = self._largest = 0.0

    def run(self, first, inputs):
        began = time.monotonic()
        warnings.simplefilter("always")
        for number in range(WARM_UP):
            with suppress(Exception):  # what is wrong is seen in the numbered ones
                self._target.try_one(Random(f"{self._name} warm-up {number}"))
        for number in range(first, first + inputs):
            print(number, flush=True)  # the last one said is the one that ended the process
            self._try(number)
        return {
            "inputs": inputs,
            "ends": dict(sorted(self._ends.items())),
            "wrong": dict(self._wrong),
            "examples": self._examples,
            "slowest": round(self._slowest, 3),
            "memory": round(self._largest / 2**20, 1),
            "seconds": round(time.monotonic() - began, 1),
        }

    def _try(self, number):
        random = Random(f"{self._name} {number}")
        faulthandler.dump_traceback_later(HUNG, exit=True)
        before = time.process_time()
        try:
            with warnings.catch_warnings(record=True) as warned:
                warnings.simplefilter("always")
                self._ends[self._target.try_one(random)] += 1
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what is looked for
            self._blame(number, type(error).__name__, traceback.format_exc())
        seconds = time.process_time() - before
        faulthandler.cancel_dump_traceback_later()
        if warned:
            self._blame(number, "a warning", str(warned[0].message))
        self._slowest = max(self._slowest, seconds)
        if seconds > LONGEST:
            self._blame(number, "too slow", f"{seconds:.1f} s of processor time")
        self._look_at_memory(number)

    def _look_at_memory(self, number):
        if self._memory is None:
            return
        grown = self._memory.take()
        self._largest = max(self._largest, grown)
        if grown > MOST_MEMORY:
            self._blame(number, "too much memory", f"{grown / 2**20:.0f} MiB")

    def _blame(self, number, kind, details):
        self._wrong[kind] += 1
        if len(self._examples) < EXAMPLES:
            self._examples.append(f"input {number}: {kind}\n{details}")


class _PeakMemory:
    """The most memory that the process held since it was last asked, less what it held then."""

    def __init__(self):
        self._before = 0.0
        self.take()

    def take(self):
        """Return it in bytes, and begin anew."""
        grown = _status("VmHWM") - self._before
        Path("/proc/self/clear_refs").write_text("5", "ascii")  # forgets the peak: proc(5)
        self._before = _status("VmRSS")
        return grown


def _status(field):
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) * 1024.0 for line in status if line.startswith(f"{field}:"))


def _bound_memory():
    """Let the process have only so much memory; tells whether what it takes can be seen."""
    limit = int(_status("VmSize")) + MOST_MEMORY + NOT_MINE
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    try:
        _PeakMemory()
    except OSError:  # a sandbox that doesn't let a process forget its peak
        return False
    return True


def _arguments():
    parser = argparse.ArgumentParser(prog="python -m fuzzing", description=__doc__)
    parser.add_argument("target", choices=SHARES)
    parser.add_argument("folder", type=Path, help="an empty one, which it may fill")
    parser.add_argument("--inputs", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0, help="the number of the first one")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
