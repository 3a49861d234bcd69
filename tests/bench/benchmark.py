"""What all benchmarks share: rows of the table, processes whose costs are known, and taking turns.

Seconds say as much of the machine, and of who else uses it, as of the program. So whatever is measured takes turns with
what it is compared with, and the median of the ratios counts; time is the processor's, as the kernel tells it of a
process that has ended, and memory the most that it had. Every process runs the sources that lie beside the benchmarks,
compiled.
"""

import argparse
import compileall
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
SOURCES = HERE.parents[1] / "daemon"
SUPPORT = HERE.parent / "support"
sys.path[1:1] = [str(SOURCES), str(SUPPORT)]

ROUNDS = 15
_SETTINGS = ("PYTHON", "SPI_", "NOTIFY_", "REQUESTS_", "CURL_", "SSL_", "HTTP_", "HTTPS_", "NO_PROXY")
_SPAWN = HERE / "spawn.py"


class Row(NamedTuple):
    """One line of the table."""

    name: str
    """what it is about, and the same for ever: stored tables know it by that"""
    value: float
    bound: float
    """what it must not be above"""
    unit: str
    """× for a ratio"""
    against: str
    """what it is compared with, or how it was counted"""

    @property
    def is_met(self):
        return self.value <= self.bound

    def __str__(self):
        value, bound = (f"{number:.{2 if self.unit == '×' else 1}f} {self.unit}" for number in (self.value, self.bound))
        return f"{self.name:44} {value:>12} {'≤' if self.is_met else '>'} {bound:<11} {self.against}"


class Cost(NamedTuple):
    """What a process took."""

    cpu: float
    """seconds of the processor"""
    peak: float
    """MiB that it had at most"""


class Skipped(Exception):  # noqa: N818 - it is no error
    """Says what this machine lacks for a benchmark."""


def environment(**more):
    """Return what a process is started with: its own sources, and nobody's settings."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(_SETTINGS)}
    return kept | {"PYTHONPATH": f"{SOURCES}{os.pathsep}{SUPPORT}", "PYTHONUNBUFFERED": "1"} | more


def cost(*arguments, statuses=(0,), **more):
    """Return what Python takes with these arguments; `more` is set in its environment."""
    with tempfile.NamedTemporaryFile("r", suffix=".log") as log:
        # A process inherits the peak of the one that it is made from, so that has to be a small one.
        done = subprocess.run(
            [sys.executable, "-I", "-S", _SPAWN, log.name, sys.executable, *map(str, arguments)],
            env=environment(**more),
            capture_output=True,
            text=True,
            check=True,
        )
        status, cpu, peak = done.stdout.split()
        if int(status) not in statuses:
            raise SystemExit(f"{' '.join(map(str, arguments))} ended with {status}:\n{log.read()[-3000:]}")
    return Cost(float(cpu), float(peak))


def uploader(*arguments, **options):
    """Return what the console command takes."""
    return cost("-m", "sticky_pi_uploader", *arguments, **options)


def in_turns(*works, rounds=ROUNDS):
    """Call each of the works once, and then all in turns; return what each gave."""
    for work in works:
        work()
    turns = [[work() for work in works] for _ in range(rounds)]
    return [list(column) for column in zip(*turns, strict=True)]


def ratio(of, to):
    """Return the median of the ratios of what took turns."""
    return statistics.median(one / other for one, other in zip(of, to, strict=True))


def cpu(costs):
    """Return the seconds of the processor of each of the costs."""
    return [one.cpu for one in costs]


def memory(costs):
    """Return the median of the peaks."""
    return statistics.median(one.peak for one in costs)


def show(rows, folder=None, **options):
    """Print rows as they come, and return them; `rows` gets an empty folder and the options."""
    compileall.compile_dir(SOURCES, quiet=2)
    shown = []
    with tempfile.TemporaryDirectory(dir=folder) as work:
        try:
            for row in rows(Path(work), **options):
                shown.append(row)
                print(row, flush=True)
        except Skipped as reason:
            print(f"skipped: {reason}", flush=True)
    return shown


def main(rows, about, **options):
    """Run one benchmark as a command; its options, whole numbers all of them, are given with their defaults."""
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("--folder", help="where it works; it needs a real file system (the system's temporary folder)")
    for name, default in options.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    show(rows, **vars(parser.parse_args()))
