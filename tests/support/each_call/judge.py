"""Judges what a happening left: at once, after a run that goes on with it, after one more, after the next picture.

What is wrong is a list of (kind, what); empty where the promise was kept.
"""

import hashlib
import json
import os
import re
import time
from itertools import chain

import invariants
from sticky_pi_uploader.state_dir.folder import MARK

from .trap import AUDIT, LATER

AN_HOUR = 3700
# urllib3 closes connections as garbage is collected; what fails there is nobody's to catch, and harms nothing.
_FINALIZER = re.compile(
    r"^Exception ignored in: <finalize object .*\n(Traceback.*\n|  .*\n)*OSError: .*\n", re.MULTILINE
)
_NO_COMPLAINT = re.compile(r"^\S+ (INFO|WARNING) ")
_OUTCOME = re.compile(r"^\S+ INFO \S+\.jpg: ")
_RAW = re.compile(r"Traceback|CRITICAL|Errno|Error\b|Exception|\bNone\b")
_CRASH = re.compile(r"Traceback|Errno|Exception")
_COMPLAINTS = re.compile(r"Traceback|WARNING|ERROR|CRITICAL")


class Judge:
    """One case's."""

    def __init__(self, trap):
        """Judge a trap as it is left."""
        self._trap = trap
        self.wrong = []

    def judge(self):
        """Look at what is left, let the program go on with it, and look again."""
        self._look_at_promise()
        self._trap.let_time_pass()
        self._drain()
        self._look_at_promise()
        self._look_at_end()
        before = self._everything()
        if said := self._drain():
            self._blame("not at rest", f"the second run said: {said}")
        if (after := self._everything()) != before:
            self._blame("not at rest", f"the second run changed {_difference(before, after)}")
        self._audit()
        self._look_at_leftovers()
        return self.wrong

    def judge_failure(self, run):
        """Judge how a run ended in which a call failed."""
        pending = [name for name, md5 in _md5s(self._trap).items() if self._trap.held().get(name) != (md5, md5)]
        said = _FINALIZER.sub("", run.said)
        complaints = [line for line in said.splitlines() if not _NO_COMPLAINT.match(line)]
        if run.status not in (os.EX_OK, os.EX_TEMPFAIL, os.EX_IOERR):
            self._blame("exit status", f"{run.status}: {run.said[-1500:]}")
        elif run.status == os.EX_OK and pending:
            self._blame("exit status", f"0, and {pending} isn't held: {run.said[-1500:]}")
        elif run.status != os.EX_OK and all(_OUTCOME.match(line) for line in run.said.splitlines()):
            self._blame("says nothing", f"exit status {run.status}")
        if raw := _RAW.search(said):
            self._blame("no clear message", said[max(0, raw.start() - 500) :][:2000])
        if len(complaints) > 1:
            self._blame("more than one message", run.said[-1500:])

    def judge_report(self, run):
        """Judge how a command that reports ended, in which a call failed."""
        if run.status not in (os.EX_OK, 1, os.EX_TEMPFAIL, os.EX_IOERR):
            self._blame("exit status", f"{run.status}: {run.said[-1500:]}")
        if _CRASH.search(_FINALIZER.sub("", run.said)):
            self._blame("no clear message", run.said[-2000:])

    def _blame(self, kind, what):
        self.wrong.append((kind, what))

    def _look_at_promise(self):
        """See that each picture is whole on the card, or else held with all its bytes, and nothing half held."""
        held = self._trap.held()
        self.wrong += invariants.lost(_md5s(self._trap), self._trap.on_card(), held)
        self.wrong += invariants.not_as_sent(_md5s(self._trap), held)

    def _look_at_end(self):
        """See that everything is sent, once, byte for byte, recorded with its receipt, and removed."""
        trap, md5s = self._trap, _md5s(self._trap)
        self.wrong += invariants.not_held_once(md5s, trap.held())
        self.wrong += invariants.not_accounted_for(md5s, trap.rows(), removed=True)
        if on_card := trap.on_card():
            self._blame("not removed", f"{sorted(on_card)}")
        sent = [file.name for stored, file in trap.uploads() if stored]
        if len(sent) != len(set(sent)):
            self._blame("sent twice", f"{sent}")
        if over := [file.name for _, file in trap.uploads() if file.held]:
            self._blame("sent though it was held", f"{over}")
        self._look_at_files(md5s)

    def _look_at_files(self, md5s):
        """See that nothing lies about that belongs to nothing, and that each thumbnail is a whole picture."""
        state = self._trap.state
        thumbnails = {
            state / "thumbnails" / md5[:2] / f"{md5}{end}" for md5 in md5s.values() for end in invariants.THUMBNAILS
        }
        expected = {state / name for name in (MARK, "lock", "outbox.db", "reserve", "reserve-inode")} | thumbnails
        self.wrong += invariants.files(state, expected, thumbnails, besides=lambda path: "cache" in path.parts)
        if self._trap.server is None:
            self.wrong += invariants.stored_files(self._trap.store, md5s)

    def _everything(self):
        """Return what a run that has nothing to do must leave as it is."""
        files = chain(self._trap.card.rglob("*"), self._trap.store.rglob("*"))
        kept = {path for path in files if path.is_file() and path.name != "lock"}
        trees = {str(path): (path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes()) for path in kept}
        # The outbox's file changes whenever it is opened for writing; what is in it doesn't.
        trees.pop(str(self._trap.state / "outbox.db"), None)
        requests = [entry.path for entry in self._trap.server.requests()] if self._trap.server is not None else []
        return {**trees, "rows": self._trap.rows(), "held": self._trap.held(), "requests": requests}

    def _look_at_leftovers(self):
        """See that what a run left in the store on its way is gone with the first upload an hour later."""
        if not (left := self._fleeting()):
            return
        then = time.time() - AN_HOUR
        for path in left:
            os.utime(path, (then, then))
        self._trap.arrive(LATER)
        self._drain()
        if left := self._fleeting():
            self._blame("left for ever", f"{left}")

    def _fleeting(self):
        return [
            path
            for path in self._trap.store.rglob("*")
            if path.is_file() and path.parent.name != "cache" and invariants.is_fleeting(path)
        ]

    def _drain(self):
        run = self._trap.program.run("drain", "--deadline", "100", watched=False)
        if run.status or _COMPLAINTS.search(run.said):
            self._blame("not mended", f"exit status {run.status}: {run.said[-1500:]}")
        return run.said

    def _audit(self):
        run = self._trap.program.run(*AUDIT, watched=False)
        if run.status or not json.loads(run.said)["adds_up"]:
            self._blame("audit", run.said[-1500:])


def _md5s(trap):
    return {name: hashlib.md5(blob).hexdigest() for name, blob in trap.sent.items()}


def _difference(before, after):
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
