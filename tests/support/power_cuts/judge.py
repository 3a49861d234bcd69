"""Judges what a cut left, in a mount namespace of its own: `python -m power_cuts.judge CASE`, a JSON file.

The copies of the disk and the destination are mounted where the true ones are, so that the program finds all where it
was. Prints what is wrong, a list of [kind, what]; empty where the promise was kept.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import invariants
from invariants import held_by_server, held_by_store, outbox_rows, pictures_on
from program import Program

from .disk import mount

PATIENCE = 120.0


class Judge:
    """What was so before the cut, and what is wrong after it."""

    def __init__(self, case):
        """Take the case as the attack wrote it."""
        self._card, self._flags, self._sent = Path(case["card"]), case["flags"], case["sent"]
        self._said = {what: set(names) for what, names in case["said"].items()}
        self._store, self._server = Path(case["store"]), case["server"]
        self.wrong = []

    def judge(self):
        """Look at what is left, let the program go on with it, and look again."""
        left, held = pictures_on(self._card), self._held()
        self._look_at_rows(rows := self._rows())
        recorded = self._said["taken_in"] | {name for name, row in rows.items() if row["state"] != "rejected"}
        self.wrong += invariants.lost(self._sent_of(recorded), left, held)
        self._drain(first=True)
        after, stored = self._rows(), self._held()
        kept = recorded & after.keys()
        self.wrong += invariants.not_accounted_for(self._sent_of(kept), {name: after[name] for name in kept})
        self._look_at_held(recorded, left, held, stored)
        self._drain(first=False)
        if (self._rows(), self._held()) != (after, stored):
            self._blame("not at rest", "the second drain changed something")
        self._audit()

    def _blame(self, kind, what):
        self.wrong.append([kind, what])

    def _rows(self):
        return outbox_rows(self._card / ".sticky-pi-uploader")

    def _held(self):
        return held_by_server(self._server) if self._server else held_by_store(self._store)

    def _look_at_rows(self, rows):
        """See that what the program said it had recorded is recorded."""
        for name in self._said["taken_in"] - rows.keys():
            self._blame("row gone", name)
        for name in self._said["uploaded"] & rows.keys():
            if rows[name]["receipt_md5"] != self._sent[name]:
                self._blame("receipt gone", name)
        for name in self._said["removed"] & rows.keys():
            if rows[name]["removed_at"] is None:
                self._blame("removal forgotten", name)

    def _look_at_held(self, recorded, left, held, stored):
        """See that nothing held is gone or another, and that what came is what was taken or else lay there."""
        for name in held.keys() - stored.keys():
            self._blame("held and gone", name)
        as_it_lay = {name for name in left.keys() - recorded - held.keys() if stored.get(name) == (left[name],) * 2}
        self.wrong += invariants.not_as_sent(self._sent | {name: left[name] for name in as_it_lay}, stored)

    def _sent_of(self, names):
        return {name: self._sent[name] for name in names}

    def _drain(self, *, first):
        done = self._call("drain", "--deadline", "60")
        if done.returncode or re.search("Traceback|ERROR|CRITICAL", done.stderr):
            self._blame("drain", f"exit status {done.returncode}: {done.stderr[-1500:]}")
        if not first and done.stderr:
            self._blame("not at rest", f"the second drain said: {done.stderr[:500]}")

    def _audit(self):
        done = self._call("audit", "--verify", "--deep", "--json")
        if done.returncode or not json.loads(done.stdout)["adds_up"]:
            self._blame("audit", (done.stdout + done.stderr)[-1500:])

    def _call(self, *command):
        return Program(*self._flags).run(*command, timeout=PATIENCE)


def main():
    """Judge the case that the command line names, from within its folder."""
    case_file = Path(sys.argv[1])
    case = json.loads(case_file.read_text("ascii"))
    os.chdir(case_file.parent)
    mount("disk", case["card"])
    if not case["server"]:
        subprocess.run(["mount", "--bind", "store", case["store"]], check=True)
    judge = Judge(case)
    judge.judge()
    print(json.dumps(judge.wrong))


if __name__ == "__main__":
    main()
