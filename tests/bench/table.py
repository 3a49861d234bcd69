"""Runs all benchmarks that have a bound, and prints what came out, beside the bound and whether it is met.

    .venv-tests/bin/python tests/bench/table.py [--only NAME…] [--json FILE]

Any Python that has the libraries will do: /usr/bin/python3 has Debian's after `tests/run --debian`. It takes half an
hour, most of it for 100,000 pictures and for being idle, and wants root, strace and a loop device for what is written.
"""

import argparse
import importlib
import json
import os
import sys

from benchmark import show

BENCHES = (
    *("take_in", "cold_start", "first_picture", "one_picture", "idle", "arrivals", "known_scan", "backlog"),
    *("tls_upload", "written", "wire"),
)
"""The modules, in the order of the table"""


def table(only=()):
    """Run the benchmarks, or only some, and return their rows."""
    rows = []
    for name in BENCHES:
        if not only or name in only:
            rows += show(importlib.import_module(name).rows)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=BENCHES, default=(), metavar="NAME", help=", ".join(BENCHES))
    parser.add_argument("--json", metavar="FILE", help="write the figures there, for compare")
    arguments = parser.parse_args()
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")
    rows = table(arguments.only)
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump({row.name: round(row.value, 3) for row in rows}, file, indent=2)
            file.write("\n")
    missed = [row.name for row in rows if not row.is_met]
    print(f"{len(rows) - len(missed)} of {len(rows)} bounds are met" + "".join(f"; not: {name}" for name in missed))


if __name__ == "__main__":
    main()
