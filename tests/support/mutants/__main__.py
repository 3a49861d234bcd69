"""Print a table of the changes and of the tests that noticed them.

The exit status is 1 if nothing noticed the absence of a guard, or too few of the random changes.
"""

import argparse
import sys
import tempfile

from . import Copy, chance
from .guards import GUARDS


def main():
    parser = argparse.ArgumentParser(prog="python -m mutants")
    parser.add_argument("words", nargs="*", metavar="WORD", help="take away only guards with it in their names")
    parser.add_argument("--chance", type=int, metavar="COUNT", help="change this many random places instead")
    parser.add_argument("--seed", type=int, default=0, help="the choice of random places follows from it")
    parser.add_argument("--jobs", type=int, help="random changes to try at a time; by default one for each core")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.chance:
            return chance.report(chance.run(arguments.chance, arguments.seed, folder, jobs=arguments.jobs))
        return _take_guards_away(arguments.words, Copy(folder))


def _take_guards_away(words, copy):
    wanted = [guard for guard in GUARDS if not words or any(word in guard.name for word in words)]
    results = [_tell(copy.without(guard)) for guard in wanted]
    unnoticed = [result.guard.name for result in results if result.noticed_by is None]
    print(f"\n{len(results)} guards, {len(unnoticed)} of them missed by nobody: {', '.join(unnoticed) or 'none'}")
    return 1 if unnoticed else 0


def _tell(result):
    noticed = result.noticed_by or "NOTHING"
    print(f"| {result.guard.name} | {noticed.removeprefix('sticky_pi_')} | {result.seconds:.0f} |", flush=True)
    return result


if __name__ == "__main__":
    sys.exit(main())
