"""Removes guards, and prints a table of what noticed each; the exit status is 1 if nothing noticed one of them."""

import sys
import tempfile

from . import Copy
from .guards import GUARDS


def main():
    wanted = [guard for guard in GUARDS if not sys.argv[1:] or any(word in guard.name for word in sys.argv[1:])]
    with tempfile.TemporaryDirectory() as folder:
        copy = Copy(folder)
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
