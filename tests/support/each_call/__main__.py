"""Lets it happen at one call after the other in a picture's life, and prints the figures as JSON."""

import argparse
import json
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from random import Random

from .guards import GUARDS
from .judge import Judge
from .trap import AUDIT, Trap
from .watch import Happening, Point

ERRORS = ("EIO", "ENOSPC", "EMFILE", "ENOMEM")
DESCRIPTORS = range(4, 30)
"""How many descriptors the program may have at most, standard input and output included, when they are limited"""
EXAMPLES = 2000
LIVES = {
    "first-to-store": {},
    "next-to-store": {"used": True},
    "first-to-server": {"server": True},
    "next-to-server": {"server": True, "used": True},
}
"""The kinds of life: of the first picture that a trap takes or of a later one, and where it is sent"""
MORE = 30
"""How many more calls of a kind than in an untouched life are tried to find, as a life changes with what happens"""
NEWS = 100
"""Runs after which it is said how far it is"""
BRIEF = "2"
"""Seconds of deadline, so that a run in which a call failed doesn't wait long for what falls due then"""


class Sweep:
    """What happened, and what it left."""

    def __init__(self, options):
        """Attack as the command line says."""
        self._attack, self._options, self._random = options.attack, options, Random(options.seed)
        self._kinds = set()
        self.figures, self.wrong, self.endings, self.examples = Counter(), Counter(), Counter(), []

    @property
    def is_over(self):
        """Whether a first wrong thing was all that was wanted, and came."""
        return self._options.until_wrong and bool(self.wrong)

    def life(self, trap):
        """Attack one kind of life, at the points that the command line says."""
        if self._attack == "limit":
            for number in self._random.sample(DESCRIPTORS, self._options.some or len(DESCRIPTORS)):
                if not self.is_over:
                    self.limited(trap, number)
            return
        trap.begin()
        trap.arrive()
        whole = trap.program.run("drain")
        counts = whole.changing if self._attack == "kill" else whole.changing + whole.others
        self.figures["points"] += counts.total() * len(self._errors())
        if self._options.at:
            happenings = map(_happening, self._options.at)
        elif self._options.some is None:
            happenings = self._all(counts)
        else:
            happenings = self._some(counts, completing=trap.is_used)
        for happening in happenings:
            if self._options.only in str(happening.point):
                self._reached = self.case(trap, happening)
            if self.is_over:
                break

    def tell(self):
        """Say on stderr how far it is."""
        print(f"{dict(self.figures)}, {dict(self.wrong)}", file=sys.stderr, flush=True)

    def _errors(self):
        return (None,) if self._attack == "kill" else ERRORS

    def _all(self, counts):
        """Yield all points, of each kind of call until one isn't reached any more."""
        for error in self._errors():
            for call, count in counts.items():
                self._reached = True
                for nth in range(1, count + MORE):
                    if self._reached:
                        yield Happening(Point(call, nth), error)

    def _some(self, counts, *, completing):
        """Return some points, at random; `completing`, also one of each kind of call that had none in other lives."""
        points = [Point(call, nth) for call, count in counts.items() for nth in range(1, count + 1)]
        self._random.shuffle(points)
        chosen, rest = points[: self._options.some], points[self._options.some :]
        self._kinds |= {_kind(point) for point in chosen}
        if completing:
            missing = {_kind(point): point for point in rest if _kind(point) not in self._kinds}
            chosen += missing.values()
        return [Happening(point, self._random.choice(self._errors())) for point in chosen]

    def case(self, trap, happening):
        """Let it happen once; returns whether the point was reached."""
        trap.begin()
        trap.arrive()
        deadline = () if happening.error is None else ("--deadline", BRIEF)
        run = trap.program.run("drain", *deadline, happening=happening)
        self.figures["runs"] += 1
        if self.figures["runs"] % NEWS == 0:
            self.tell()
        if not run.happened:
            self.figures["untouched"] += 1
            return False
        self.figures["happened"] += 1
        judge = Judge(trap)
        if happening.error is not None:
            judge.judge_failure(run)
            self.endings[run.status] += 1
        self._note(judge.judge(), f"{happening.error or 'killed'} at {happening.point} (status {run.status})")
        return True

    def limited(self, trap, number):
        """Let a life be lived, and audited, with no more than so many descriptors."""
        trap.begin()
        trap.arrive()
        judge = Judge(trap)
        for command in (("drain", "--deadline", BRIEF), AUDIT, ("status",), ("list",)):
            run = trap.program.run(*command, watched=False, descriptors=number)
            (judge.judge_failure if command[0] == "drain" else judge.judge_report)(run)
            self.endings[run.status] += 1
            self.figures["happened"] += "Too many open files" in run.said
        self.figures["runs"] += 1
        self._note(judge.judge(), f"{number} descriptors")

    def _note(self, wrong, cause):
        for kind, what in wrong:
            self.wrong[kind] += 1
            self.examples.append(f"{kind}: {cause}: {what}")


def _kind(point):
    return point.call.split()[0]


def _happening(text):
    """Read one that a failure named: `EIO at fsync card #1`."""
    error, _, point = text.partition(" at ")
    call, _, nth = point.rpartition(" #")
    return Happening(Point(call, int(nth)), error if error in ERRORS else None)


def _parse():
    parser = argparse.ArgumentParser(prog="each_call", description=__doc__)
    parser.add_argument("attack", choices=("kill", "fail", "limit"), help="what happens at a call, or to all")
    parser.add_argument("folder", help="an empty folder to work in; disks are mounted on it")
    parser.add_argument("--some", type=int, help="at so many points of each life; without it, at all")
    parser.add_argument("--seed", type=int, default=0, help="what the choice of some follows from")
    parser.add_argument("--at", action="append", help="at this point, written as a failure names it; may be repeated")
    parser.add_argument("--only", default="", help="only at calls with this in what is said of them")
    parser.add_argument("--life", choices=LIVES, action="append", help="of these kinds of life; all, without it")
    parser.add_argument("--without", choices=GUARDS, help="a guard of the program to take out")
    parser.add_argument("--until-wrong", action="store_true", help="end with the first thing that is wrong")
    return parser.parse_args()


def main():
    """Attack each kind of life, and print the figures."""
    options = _parse()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", options.folder], check=True)
    if options.without:
        GUARDS[options.without]()
    sweep, began = Sweep(options), time.monotonic()
    for life in options.life or LIVES:
        folder = Path(options.folder, life)
        folder.mkdir()
        with closing(Trap(folder, **LIVES[life])) as trap:
            sweep.life(trap)
        sweep.tell()
        if sweep.is_over:
            break
    seconds = round(time.monotonic() - began, 1)
    figures = {**sweep.figures, "seconds": seconds, "endings": sweep.endings, "wrong": sweep.wrong}
    print(json.dumps({**figures, "examples": sweep.examples[:EXAMPLES]}, indent=1))


main()
