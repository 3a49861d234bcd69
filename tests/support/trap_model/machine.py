"""The model: what people, the camera, the network and the power may do in any order, and what must be so after each."""

import os
import shutil
import tempfile
import time
from collections import defaultdict
from contextlib import nullcontext
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from sticky_pi_api.images.doubts import is_note
from sticky_pi_api.types import Blame, Outcome
from sticky_pi_uploader.models import State
from sticky_pi_uploader.upload.backoff import LONGEST_WAIT

from .clock import Clock
from .damage import DAMAGE, damage
from .pool import DEVICES, TIMES, file_name, key_in, pool
from .server import ASKED, UPLOADED, Server, is_kept
from .trap import GIVE_UP_AFTER, KEEP_RECORD_DAYS, Trap

DAY = 86400.0
RIGHT = 2_000_000_000.0
"""Ahead of the real clock: by it everything changed long ago, and only the times that the model sets are new"""
NEW_YEAR_2000 = 946_684_800.0
FOLDERS = ("", "5c173ff2", "5c173ff2/2022-05-17", "copies")
WAITS = 10
"""Times that it is waited for a second look"""
ROUNDS = 40
"""Times that all is looked through, and every wait waited for, in which everything sendable must be sent"""

contents = st.integers(0, 11).map(lambda number: pool()[number])
paths = st.builds(
    lambda folder, device, time, upper: f"{folder}/{file_name(device, time, upper=upper)}".lstrip("/"),
    st.sampled_from(FOLDERS),
    st.sampled_from(DEVICES),
    st.sampled_from(TIMES),
    st.booleans(),
)
files = st.tuples(paths, contents, st.booleans())
picks = st.integers(0, 99)
questions = st.sampled_from(("ok",) * 10 + ASKED)
uploads = st.sampled_from(("ok",) * 15 + UPLOADED)
harms = st.sampled_from((None,) * 15 + tuple(DAMAGE))


class TrapMachine(RuleBasedStateMachine):
    """A trap, two servers, and what must be true of them."""

    def __init__(self, folder, figures, disk=None):
        """Work in a folder of its own below `folder`; `disk` fills and frees the disk below it, if that can be done.

        What happens is counted in `figures`.
        """
        super().__init__()
        self.figures = figures
        self.folder = Path(tempfile.mkdtemp(dir=folder))
        self.disk = disk
        self.clock = Clock(RIGHT)
        self.sound = {content.md5 for content in pool() if content.kind != "broken"}
        self.servers = [Server(f"https://{name}.example.org", self.clock, self.sound) for name in ("here", "there")]
        self.trap = Trap(self.folder, self.clock, self.servers[0], disk)
        self.card = {}
        """what lies on the card, by path, as people and the camera left it there"""
        self.removed = []
        """what the trap removed: path, content, the server that has it, and how the outbox had fared until then"""
        self.known = defaultdict(set)
        """the md5s of the pictures that lay on the card under a key, and what `_known` adds"""
        self.rewritten = {}
        """when files were rewritten in place, by path: it may take a day until a scan reads their folders again"""
        self.overwritten = set()
        self.forgotten = set()
        self.damages = 0
        self.was_far_ahead = False
        self.trap.start()

    @property
    def server(self):
        return self.trap.server

    @property
    def is_sound(self):
        return self.trap.outbox is not None and self.trap.largest_file is None and not (self.disk and self.disk.is_full)

    # what happens on the card

    @initialize(files=st.lists(files, min_size=2, max_size=6), tick=st.sampled_from([0.0, 0.05, 1.0]))
    def a_card_is_put_in(self, files, tick):
        self.clock.tick = tick
        self.files_are_written(files)

    @rule(files=st.lists(files, min_size=1, max_size=5))
    def files_are_written(self, files):
        for path, content, in_place in files:
            self._write(path, content, in_place=in_place)
        self._date_folders()

    def _write(self, path, content, *, in_place):
        file = self.trap.images / path
        self.rewritten.pop(path, None)
        if in_place and file.exists():
            self.rewritten[path] = self.clock.since_boot
        target = file if in_place else file.with_name(f"{file.name}~")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content.blob)
        except OSError:
            # The disk is full, so there is no such picture; where one was written over, whoever did that lost it.
            target.unlink(missing_ok=True)
            if in_place:
                self.card.pop(path, None)
            return
        target.rename(file)
        self.card[path] = content
        if content.kind != "broken":
            self.known[key_in(path)].add(content.md5)

    @rule(pick=picks, content=contents)
    def a_file_is_rewritten_in_place(self, pick, content):
        if (path := self._picked(pick)) is not None:
            self.files_are_written([(path, content, True)])

    @rule(pick=picks, path=st.none() | paths)
    def a_file_is_renamed_or_deleted(self, pick, path):
        old = self._picked(pick)
        if old is None or old == path:
            return
        self.rewritten.pop(old, None)
        if path is None:
            (self.trap.images / old).unlink()
            self._date_folders()
            del self.card[old]
            return
        self.rewritten.pop(path, None)
        (self.trap.images / path).parent.mkdir(parents=True, exist_ok=True)
        (self.trap.images / old).rename(self.trap.images / path)
        self._date_folders()
        self.card[path] = content = self.card.pop(old)
        if content.kind != "broken":
            self.known[key_in(path)].add(content.md5)

    def _date_folders(self):
        """Have the folders that changed just now changed now by the trap's clock."""
        for folder in [self.trap.images, *self.trap.images.rglob("*/")]:
            if folder.is_dir() and abs(folder.stat().st_mtime - time.time()) < DAY:
                os.utime(folder, (self.clock.wall, self.clock.wall))

    # what the trap does

    @rule()
    def the_card_is_looked_through(self):
        if not self._is_on():
            return
        before = self._rows()
        done, _ = self._attempt(self._look_around)
        if done and before is not None and self.is_sound:
            self._check_looked_through(before, self._rows())

    @rule(pick=picks, steps=st.integers(1, 3))
    def it_hears_of_a_file(self, pick, steps):
        path = self._picked(pick)
        if path is None or not self._is_on():
            return
        self.trap.scan_requests.file(path)
        for _ in range(steps):
            if self.trap.outbox:
                self._attempt(self.trap.intake.step)

    @rule(
        steps=st.integers(1, 4),
        asked=st.lists(questions, max_size=2),
        uploaded=st.lists(uploads, max_size=3),
        looks=st.booleans(),
        is_held=st.sampled_from([False, False, False, True]),
    )
    def it_sends(self, steps, asked, uploaded, looks, is_held):
        if looks:
            self.the_card_is_looked_through()
        self._expect(asked, uploaded)
        self.trap.is_held = is_held
        for _ in range(steps):
            if self._is_on():
                self._send()
        self.trap.is_held = False

    @rule(readings=st.integers(0, 12), uploaded=st.lists(uploads, max_size=3))
    def a_picture_falls_due_while_it_sends(self, readings, uploaded):
        """After some readings of the clock; what is due already is sent meanwhile."""
        self._expect([], uploaded)
        if not self._is_on():
            return
        waits = [row.not_before - self.clock.wall for row in (self._rows() or {}).values() if row.not_before]
        if after := min((wait for wait in waits if 0 < wait <= LONGEST_WAIT), default=None):
            self.clock.advance(max(0.0, after - readings * self.clock.tick))
        self._send()

    @rule(pressed=st.booleans(), asked=st.lists(questions, max_size=1))
    def it_makes_room(self, pressed, asked):
        self.trap.pressed = pressed
        self._expect(asked, [])
        if self._is_on():
            self._make_room()

    @rule(pick=picks)
    def somebody_asks_for_a_retry(self, pick):
        rows = self._rows() if self._is_on() else None
        if rows:
            self._attempt(lambda: self.trap.outbox.queue.retry(rows[sorted(rows)[pick % len(rows)]]))

    @rule(pick=picks)
    def somebody_dismisses_a_picture(self, pick):
        rows = self._rows() if self._is_on() else None
        if not rows:
            return
        picture = rows[sorted(rows)[pick % len(rows)]]
        done, dismissed = self._attempt(lambda: self.trap.outbox.catalog.dismiss(picture))
        if done and (after := self._rows()) is not None:
            assert dismissed == picture.needs_attention
            assert not dismissed or not after[picture.path].needs_attention
            assert {path: row.state for path, row in after.items()} == {path: row.state for path, row in rows.items()}

    @rule()
    def it_looks_after_its_outbox(self):
        if self._is_on():
            self._attempt(self.trap.upkeep.step)

    # what happens to it

    @rule(
        at=st.sampled_from(["looking", "sending", "making room", "booting"]),
        after=st.integers(0, 60),
        uploaded=st.lists(uploads, max_size=2),
        harm=harms,
    )
    def its_power_is_cut(self, at, after, uploaded, harm):
        if not self._is_on():
            return
        self._expect([], uploaded)
        self.clock.cut_after = after
        if at == "looking":
            self._attempt(self._look_around)
        elif at == "sending":
            self._attempt(self.trap.uploader.step)
        elif at == "making room":
            self._make_room(checked=False)
        else:
            self.trap.stop()
            self.trap.start()
            self.clock.cut_after = None
        if self.trap.outbox:  # it was done before
            self.trap.cut_power()
        self._boot(harm)

    @rule(harm=harms, elsewhere=st.sampled_from([False, False, False, True]))
    def it_is_started_anew(self, harm, elsewhere):
        self.trap.stop()
        if elsewhere:
            self.trap.server = next(server for server in self.servers if server is not self.server)
        self._boot(harm)

    @rule(
        seconds=st.sampled_from([1.0, 31.0, 1801.0, DAY, 40 * DAY]),
        clock=st.sampled_from([None, None, None, "2000", "years ahead", "right"]),
    )
    def time_passes(self, seconds, clock):
        self.clock.advance(seconds)
        if clock is not None:
            self._set_clock(clock)

    def _set_clock(self, to):
        right = RIGHT + self.clock.since_boot
        self.clock.wall = {"2000": NEW_YEAR_2000, "years ahead": right + 1500 * DAY, "right": right}[to]
        self.was_far_ahead |= to == "years ahead"
        if self.trap.outbox:  # as a session does when it notices
            self._attempt(self.trap.outbox.destinations.end_wait)

    @rule(
        from_=st.sampled_from([*[None] * 8, 0, 600, 5000, 30_000, 70_000, 120_000]),
        left=st.sampled_from([*[None] * 5, 0, 1, 3, 8, 20]),
    )
    def the_disk_fails_from_a_byte_on_or_fills_but_for_some_pages(self, from_, left):
        self.trap.largest_file = from_
        if self.disk and left is None:
            self.disk.free()
        elif self.disk:
            self.disk.fill(left * 4096)

    # what others do to the server

    @rule(path=paths, content=contents)
    def another_trap_sends_a_picture(self, path, content):
        key = key_in(path)
        if content.kind != "broken" and key not in self.server.rows:
            self.server.settle(at_once=True)
            self.server.rows.setdefault(key, content.md5)
            self.server.objects.setdefault(key, content.blob)

    @rule(pick=picks, how=st.sampled_from(["forgotten", "overwritten"]))
    def the_server_loses_a_picture(self, pick, how):
        keys = self._forgettable()
        if not keys:
            return
        key = keys[pick % len(keys)]
        if how == "forgotten":
            self.forgotten.add((self.server.url, key))
            del self.server.rows[key], self.server.objects[key]
        else:
            self.server.objects[key] = b"another client's"
            self.overwritten.add((self.server.url, key))

    # what must be so

    @invariant()
    def nothing_is_lost(self):
        assert self._on_disk() == {path: content.md5 for path, content in self.card.items()}
        for path, content, server, _ in self.removed:
            assert server.rows[key_in(path)] == content.md5, path
            assert server.objects[key_in(path)] == content.blob, path

    @invariant()
    def no_server_is_harmed(self):
        assert [server.wrong for server in self.servers] == [[], []]

    @invariant()
    def what_is_recorded_is_true(self):
        rows = self._rows() or {}
        for path, row in rows.items():
            if row.state is State.UPLOADED:
                assert row.receipt_md5 == row.md5
                assert any((key_in(path), row.md5) in server.confirmed for server in self.servers), row
            elif row.state is not State.PENDING and row.state is not State.UPLOADING:
                assert row.reason, row
        if rows:
            self._check_removals(rows)

    def teardown(self):
        """Let all faults end, and see that everything comes right by itself."""
        try:
            self._come_right()
        finally:
            self.trap.stop()
            if self.disk:
                self.disk.free()
            shutil.rmtree(self.folder)
            self._count()

    def _count(self):
        counts = {"runs": 1, "uploads": sum(server.uploads for server in self.servers), "removed": len(self.removed)}
        self.figures.update(counts | self.trap.counts)

    def _come_right(self):
        self.trap.largest_file = None
        if self.disk:
            self.disk.free()
        self._expect([], [])
        self.trap.pressed = True
        self.clock.advance(DAY + 1)
        is_over = False
        for _ in range(ROUNDS):
            rows, was_over = self._round(), is_over
            is_over = rows is not None and not any(self._is_to_come(row) for row in rows.values())
            # A pass of retention that began before may only have been ended in the first of two.
            if is_over and was_over:
                break
        else:
            raise AssertionError([row for row in (rows or {}).values() if self._is_to_come(row)])
        for server in self.servers:
            server.settle(at_once=True)
        self._check_end(rows)
        uploads = sum(server.uploads for server in self.servers)
        self.trap.stop()
        again = self._round()
        assert {path: row.state for path, row in again.items()} == {path: row.state for path, row in rows.items()}
        assert sum(server.uploads for server in self.servers) == uploads
        for check in (self.nothing_is_lost, self.no_server_is_harmed, self.what_is_recorded_is_true):
            check()

    def _round(self):
        """Do all that there is to do, and wait for what is to come; returns the rows, or None if something broke."""
        if not self._is_on():
            return None
        self.the_card_is_looked_through()
        while self.trap.outbox and self._send() == 0:
            pass
        while self.trap.outbox and self._make_room() == 0:
            pass
        rows = self._rows()
        refused = any(row.state is State.REJECTED and row.attempts for row in (rows or {}).values())
        self.clock.advance(7 * DAY + 1 if refused else LONGEST_WAIT + 1)
        return rows

    def _is_to_come(self, row):
        refused = row.state is State.REJECTED and row.attempts > 0
        return refused or row.state is State.UPLOADING or (row.state is State.PENDING and not self._is_left_open(row))

    def _is_left_open(self, row):
        """Say whether a picture clashes, and waits until the server takes another: until then nothing more happens."""
        clashes = self.server.rows.get(key_in(row.path), row.md5) != row.md5
        return clashes and self._is_server_blamed(row)

    # the steps

    def _attempt(self, step):
        self.figures["steps"] += 1
        try:
            return self.trap.attempt(step)
        finally:
            self._date_folders()

    def _look_around(self):
        self.trap.scan_requests.everything()
        waits = 0
        # A file that changed while its picture is still being sent, by what is recorded, is looked at again and again.
        while waits < WAITS and (wait := self.trap.intake.step()) is not None:
            waits += wait > 0
            self.clock.advance(wait)

    def _send(self):
        before = self._rows()
        del self.server.told[:]
        done, wait = self._attempt(self.trap.uploader.step)
        if done and before is not None and self.is_sound:
            self._check_sent(before, self._rows())
        return wait if done else None

    def _make_room(self, *, checked=True):
        self.server.vouched.clear()
        done, wait = self._attempt(self.trap.retention.step)
        removed = self.card.keys() - self._on_disk().keys()
        for path in removed:
            self._check_removed(path, self.card[path])
            self.removed.append((path, self.card.pop(path), self.server, self._outbox_fared()))
        if done and checked and self.is_sound and (rows := self._rows()) is not None:
            assert all(path not in rows or rows[path].removed_at is not None for path in removed)
        return wait if done else None

    def _boot(self, harm):
        if harm is not None:
            self.damages += 1
            with self.disk.with_room() if self.disk else nullcontext():
                damage(self.trap.state, harm)
        if not self.trap.start():
            assert not self.is_sound
            self.trap.start()

    def _expect(self, asked, uploaded):
        for server in self.servers:
            server.asked.clear()
            server.uploaded.clear()
        self.server.asked.extend(asked)
        self.server.uploaded.extend(uploaded)

    # the model

    def _check_looked_through(self, before, after):
        for path, content in self.card.items():
            row = after[path]
            if self.clock.since_boot - self.rewritten.get(path, -2 * DAY) <= DAY:
                continue
            if row.state is State.UPLOADING:
                continue  # the disk failed as its outcome was to be recorded; the next step gives it back
            if content.kind == "broken":
                # What takes the place of a picture that was sent is no news; it is if that has to be sent again.
                was = before[path].state if path in before else None
                assert row.state is (was if was is State.UPLOADED or row.md5 != content.md5 else State.REJECTED), row
                continue
            assert row.md5 == content.md5, row
            assert row.suspect is None or is_note(row.suspect) or content.kind == "suspect", row
            assert row.state in (State.PENDING, State.UPLOADED) or self._may_be_held_back(row), row
            # What was sent to another server, and is here again, is seen to be so.
            assert row.state is not State.UPLOADED or (key_in(path), row.md5) in self.server.confirmed, row
        for path in after.keys() - self.card.keys():
            row = after[path]
            is_no_loss = row.state is State.REJECTED and row.removed_at is not None and row.md5 not in self.sound
            assert is_no_loss or row.state in (State.UPLOADED, State.UPLOADING, State.LOST), row

    def _may_be_held_back(self, row):
        if row.state is State.REJECTED:
            return row.attempts > 0
        return row.state is State.CONFLICT and bool(self._known(key_in(row.path)) - {row.md5})

    def _check_sent(self, before, after):
        # What is in hand before a step is there as its outcome couldn't be recorded: first it is given back.
        claimed = State.UPLOADING
        expected = {path: State.PENDING if row.state is claimed else row.state for path, row in before.items()}
        waiting = {path for path, row in before.items() if row.state is State.REJECTED and row.attempts}
        for outcome in self.server.told:
            path = str(Path(outcome.file).relative_to(self.trap.images))
            assert before[path].urgent or not self.trap.is_held, path
            expected[path] = self._follows(outcome, before[path], after[path])
            if expected[path] in (State.UPLOADED, State.CONFLICT):
                held = key_in(path), outcome.row["md5"]
                asked_again = [other for other, row in before.items() if (key_in(other), row.md5) == held]
                expected |= {one: State.PENDING for one in asked_again if expected[one] is State.CONFLICT}
        for path, state in expected.items():
            assert after[path].state in ({state, State.PENDING} if path in waiting else {state}), (after[path], state)

    def _follows(self, outcome, before, after):
        """Say which state follows from an outcome."""
        if is_kept(outcome) and outcome.row["md5"] == before.md5:
            return State.UPLOADED
        if outcome.outcome is Outcome.CONFLICT:
            return State.PENDING if self._is_server_blamed(after) else State.CONFLICT
        if outcome.outcome is Outcome.REFUSED:
            is_last = outcome.error.blame is Blame.PICTURE or after.attempts >= GIVE_UP_AFTER
            return State.REJECTED if is_last else State.PENDING
        return State.PENDING

    def _is_server_blamed(self, row):
        """Say whether a clash isn't held against a picture, as the server has other bytes of all, or of what it got."""
        destination = self.trap.outbox.destination(self.server.url)
        return row.state is State.PENDING and str(destination.reason).startswith("it says that it holds")

    def _check_removed(self, path, content):
        """See that a picture that the trap removed was one that it may remove."""
        key = key_in(path)
        assert content.kind == "whole", path
        assert (key, content.md5) in self.server.vouched, path
        assert self.server.rows[key] == content.md5, path
        assert self.server.objects[key] == content.blob, path

    def _check_removals(self, rows):
        kept = {(key_in(path), row.md5) for path, row in rows.items()}
        for path, content, _, fared in self.removed:
            may_be_forgotten = self.was_far_ahead or self.clock.since_boot > KEEP_RECORD_DAYS * DAY
            if fared == self._outbox_fared() and path not in self.card and not may_be_forgotten:
                assert (key_in(path), content.md5) in kept or rows[path].md5 != content.md5, path

    def _outbox_fared(self):
        """Count the harms done to the outbox; some are found only later, and then it is put aside."""
        return self.damages, self.trap.counts["put aside"]

    def _check_end(self, rows):
        for path, content in self.card.items():
            key, row = key_in(path), rows[path]
            if content.kind == "broken":
                assert row.state in (State.REJECTED, State.UPLOADED), row
                continue
            if (self.server.url, key) in self.forgotten and not self._is_asked_again(key):
                continue  # what clashes with it, or takes its place, came later
            assert key in self.server.rows, row
            is_held = self.server.rows[key] == content.md5
            is_open = not is_held and self._is_server_blamed(row)
            assert is_open or row.state is (State.UPLOADED if is_held else State.CONFLICT), row
            is_doubted = row.suspect is not None and not is_note(row.suspect)
            assert is_open or row.state is State.CONFLICT or is_doubted or (self.server.url, key) in self.overwritten, (
                row
            )

    # what there is

    def _known(self, key):
        """Return the md5s that were ever met with under a key."""
        self.known[key] |= {server.rows[key] for server in self.servers if key in server.rows}
        return self.known[key]

    def _picked(self, pick):
        return sorted(self.card)[pick % len(self.card)] if self.card else None

    def _is_on(self):
        """Say whether the trap runs; where it doesn't, as the disk didn't let it, systemd has just tried it again."""
        return self.trap.outbox is not None or self.trap.start()

    def _rows(self):
        """Return the outbox's pictures by path; None where there is none to be read."""
        if self.trap.outbox is None:
            return None
        done, rows = self.trap.attempt(lambda: {row.path: row for row in self.trap.outbox.pictures()})
        return rows if done else None

    def _on_disk(self):
        images = self.trap.images
        return {str(file.relative_to(images)): _md5(file) for file in images.rglob("*.jpg")}

    def _forgettable(self):
        """Name the keys that the server may lose: the trap finds out by itself, and has the picture."""
        self.server.settle(at_once=True)
        kept = {key_in(path) for path, *_ in self.removed}
        return sorted(key for key in self.server.rows.keys() - kept if self._is_asked_again(key))

    def _is_asked_again(self, key):
        """Say whether the server is asked again for what it has: not for a suspect picture, or where two clash."""
        is_suspect = any(content.kind == "suspect" for path, content in self.card.items() if key_in(path) == key)
        return not is_suspect and len(self._known(key)) <= 1


def _md5(file):
    from hashlib import md5

    return md5(file.read_bytes(), usedforsecurity=False).hexdigest()
