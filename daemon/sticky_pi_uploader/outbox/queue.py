"""The outbox as the uploader sees it: what is due, what became of it, and how the destination answered."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain, zip_longest
from typing import Any, Final

from ..models import Destination, Picture, State
from .codec import to_sendable
from .schema import UNTRIED
from .writer import OutboxWriter

REOFFER_AFTER: Final = 7 * 86400.0
"""Seconds after which a picture that was refused too often is offered again."""

CLASH: Final = "the destination holds another picture with this device and time"
"""How the reason of a conflict with the destination begins"""

_SENDABLE: Final = "state = 'pending' AND present = 1 AND recheck = 0"
# SQLite would take the index of the states otherwise, and look at each picture that waits.
_BY_TIME: Final = "pictures INDEXED BY pictures_to_send"
_BY_WAIT: Final = "pictures INDEXED BY pictures_waiting"
_ACCEPTED: Final = "(SELECT accepted FROM destinations WHERE configured = 1)"


class Sending(OutboxWriter):
    """The verbs of the uploader, and those that people ask for."""

    def claim(self, most: int, *, untried: bool = False, smaller_than: int | None = None) -> list[Picture]:
        """Take up to `most` due pictures to be sent: the newest, the oldest, the next newest and so on; no key twice.

        Which ones may be limited as for `next_due`. The step is not durable, and needn't be: after a crash they are
        pending again, and asked for before they are sent.
        """
        with self._writing(durable=False):
            chosen = list(self._choose(most, _claimable(untried=untried, smaller_than=smaller_than)))
            return [picture for picture in chosen if self._move(picture.id, (State.PENDING,), State.UPLOADING)]

    def claim_canary(self) -> list[Picture]:
        """Take one due picture while the destination is in trouble; none is [].

        What wasn't tried yet comes first, the newest of it, and then what was tried longest ago: a picture that always
        fails holds up no other.
        """
        with self._writing(durable=False):
            tried = self._due("failed_since IS NOT NULL, not_before, datetime DESC", 1, self._clock(), _SENDABLE)
            return [picture for picture in tried if self._move(picture.id, (State.PENDING,), State.UPLOADING)]

    def next_due(self, *, untried: bool = False, smaller_than: int | None = None) -> float | None:
        """Tell in how many seconds a picture falls due (0: now), or None where none is waiting.

        With `untried`, only those count of which no try has failed; with `smaller_than`, those with fewer bytes.
        """
        now = self._clock()
        which = _claimable(untried=untried, smaller_than=smaller_than)
        # One after the other, each by an index of its own: it takes no longer with many of them.
        for due in (
            f"SELECT 1 FROM {_BY_WAIT} WHERE {which} AND not_before > :now + :longest LIMIT 1",
            f"SELECT 1 FROM {_BY_TIME} WHERE {which} AND not_before IS NULL LIMIT 1",
        ):
            if next(self._rows(due, {"now": now, "longest": self._longest_wait}), None) is not None:
                return 0.0
        earliest = self._number(f"SELECT min(not_before) FROM {_BY_WAIT} WHERE {which} AND not_before IS NOT NULL")
        return None if earliest is None else max(0.0, earliest - now)

    def confirm(self, picture: Picture, receipt_md5: str, why: str, *, accepted_by: str | None = None) -> bool:
        """Record the receipt and the outcome, in one step.

        `accepted_by` is the url of the destination where it took the picture just now, rather than held it already.
        """
        now = self._clock()
        values = {"receipt_md5": receipt_md5, "uploaded_at": now, "reason": None, "not_before": None}
        with self._writing() as connection:
            confirmed = self._move(picture.id, (State.UPLOADING,), State.UPLOADED, why, values)
            if confirmed and accepted_by is not None:
                connection.execute("UPDATE destinations SET accepted = accepted + 1 WHERE url = ?", (accepted_by,))
            return confirmed

    def refuse(
        self, picture: Picture, why: str, *, not_before: float, charge: int = 0, missed: bool = True, last: bool = False
    ) -> bool:
        """Record a refusal: it waits until `not_before`, or, the last, is rejected.

        `charge` says how many refusals turned out to be the picture's fault by it; not `missed`, that the destination
        as a whole is to blame.
        """
        state = State.REJECTED if last else State.PENDING
        until = self._clock() + REOFFER_AFTER if last else not_before
        values = self._failed(picture) | {"attempts": picture.attempts + charge, "not_before": until, "reason": why}
        values |= {"misses": picture.misses + missed, "refused_after": self.accepted()}
        return self._move(picture.id, (State.UPLOADING,), state, why, values)

    def accepted(self) -> int:
        """Tell how many pictures the configured destination took, ever: a clock that nobody can set."""
        return int(self._number(f"SELECT {_ACCEPTED}") or 0)

    def others_refused(self, picture: Picture) -> int:
        """Count the different pictures to be sent, but this one, that were refused since the destination took one."""
        count: int = self._value(
            "SELECT count(DISTINCT lower(device) || datetime) FROM pictures WHERE state IN ('pending', 'uploading')"
            f" AND refused_after = {_ACCEPTED} AND NOT (device = ? AND datetime = ?)",
            (picture.device, picture.datetime),
        )
        return count

    def lately_failed(self) -> int:
        """Count the different pictures to be sent that failed, but only since the destination last took one.

        One that failed before that as well is left out: it is odd itself.
        """
        count: int = self._value(
            "SELECT count(DISTINCT lower(device) || datetime) FROM pictures WHERE state IN ('pending', 'uploading')"
            f" AND failed_since = {_ACCEPTED}"
        )
        return count

    def forget_refusals(self) -> None:
        """Forget the refusals since the destination last took a picture: they say nothing of the pictures."""
        with self._writing() as connection:
            connection.execute(
                f"UPDATE pictures SET refused_after = NULL WHERE state = 'pending' AND refused_after = {_ACCEPTED}"
            )

    def clash(self, picture: Picture, why: str) -> bool:
        """Record that the destination holds another picture under the same key."""
        return self._move(picture.id, (State.UPLOADING,), State.CONFLICT, why, {"reason": why})

    def clashes_in_a_row(self) -> int:
        """Count the different pictures in conflict with the destination since it last held one with our bytes."""
        count: int = self._value(
            "SELECT count(DISTINCT lower(device) || datetime) FROM pictures JOIN history ON picture_id = pictures.id"
            " WHERE pictures.state = 'conflict' AND history.state = 'conflict' AND why LIKE ? AND history.id >"
            " ifnull((SELECT id FROM history WHERE state = 'uploaded' ORDER BY id DESC LIMIT 1), 0)",
            (f"{CLASH}%",),
        )
        return count

    def ask_again(self, picture: Picture, held: str) -> int:
        """Have files asked for again that have the bytes that the destination holds under a picture's key.

        They were in conflict with another file here, which has other bytes; `held` is an md5. Tells how many.
        """
        why = "the destination is asked again: it has a picture with this device, time and md5"
        query = "SELECT id FROM pictures WHERE device = ? AND datetime = ? AND md5 = ? AND state = 'conflict'"
        values = {"reason": None, "not_before": None}
        with self._writing():
            rows = list(self._rows(query, (picture.device, picture.datetime, held)))
            return sum(self._move(row["id"], (State.CONFLICT,), State.PENDING, why, values) for row in rows)

    def release(self, picture: Picture, *, not_before: float | None = None) -> bool:
        """Give a claimed picture back as it was, to be tried no sooner than `not_before`."""
        values = {"not_before": picture.not_before if not_before is None else not_before}
        return self._move(picture.id, (State.UPLOADING,), State.PENDING, None, values, durable=False)

    def explain_waiting(self, why: str) -> None:
        """Say why pictures that are to be sent weren't, where no other reason is known."""
        with self._writing(durable=False) as connection:
            connection.execute(
                f"UPDATE {_BY_TIME} SET reason = ? WHERE {_SENDABLE} AND reason IS NULL",
                (why,),
            )

    def put_off(self, picture: Picture, why: str | None = None, *, not_before: float | None, missed: bool) -> bool:
        """Give a claimed picture back that couldn't be sent, nothing charged.

        Without `why` there is nothing to tell of; `missed` says that the destination as a whole isn't to blame.
        """
        values = self._failed(picture) | {"misses": picture.misses + missed}
        if not_before is not None:
            values["not_before"] = not_before
        news = None if why == picture.reason else why
        if why is not None:
            values["reason"] = why
        return self._move(picture.id, (State.UPLOADING,), State.PENDING, news, values, durable=False)

    def postpone(self, picture: Picture, why: str, *, not_before: float) -> bool:
        """Give a claimed picture back of which nobody knows whether it is stored, to be asked for at `not_before`."""
        values = self._failed(picture) | {"misses": picture.misses + 1, "reason": why, "not_before": not_before}
        return self._move(picture.id, (State.UPLOADING,), State.PENDING, why, values)

    def recheck(self, picture: Picture, why: str, *, not_before: float) -> bool:
        """Give a claimed picture back to be read again before it is sent.

        If that finds the same file, it isn't sent before `not_before`: the card may give other bytes at each read.
        """
        values = {"reason": why, "recheck": 1, "misses": picture.misses + 1, "not_before": not_before}
        return self._move(picture.id, (State.UPLOADING,), State.PENDING, why, values)

    def recover(self) -> int:
        """Give back what was being sent when an earlier process, or an earlier write, broke off; tells how many."""
        why = "broken off while it was being sent"
        with self._writing():
            rows = self._rows("SELECT id FROM pictures WHERE state = 'uploading'")
            return sum(self._move(row["id"], (State.UPLOADING,), State.PENDING, why, {"reason": why}) for row in rows)

    def reoffer(self) -> int:
        """Make pictures pending that were rejected after refusals long enough ago; tells how many."""
        now = self._clock()
        due = (
            "SELECT id FROM pictures WHERE state = 'rejected' AND attempts > 0 AND (not_before <= ? OR not_before > ?)"
        )
        with self._writing():
            rows = self._rows(due, (now, now + REOFFER_AFTER))
            why = "offered again after a week"
            return sum(self._move(row["id"], (State.REJECTED,), State.PENDING, why, UNTRIED) for row in rows)

    def change_destination(self, url: str, is_here: Callable[[str], bool]) -> int:
        """Make `url` the configured destination; where it was another, what is still here becomes pending again.

        A receipt belongs to one destination, and so do its conflicts and refusals. `is_here` tells of a path whether
        its file is there: pictures whose file isn't keep the receipt that they have. Returns how many changed.
        """
        with self._writing() as connection:
            before = next((row["url"] for row in self._rows("SELECT url FROM destinations WHERE configured = 1")), url)
            connection.execute("UPDATE destinations SET configured = 0 WHERE url != ?", (url,))
            connection.execute(
                "INSERT INTO destinations (url, configured) VALUES (?, 1)"
                " ON CONFLICT (url) DO UPDATE SET configured = 1",
                (url,),
            )
            if before == url:
                return 0
            connection.execute("UPDATE destinations SET retry_at = NULL, failures = 0 WHERE url = ?", (url,))
            assignments = ", ".join(f"{name} = :{name}" for name in UNTRIED)
            connection.execute(f"UPDATE pictures SET {assignments} WHERE state = 'pending'", UNTRIED)
            return self._forget_answers(f"the destination changed from {before} to {url}", is_here)

    def set_destination(self, destination: Destination) -> None:
        """Keep how the destination answered, so that a reboot forgets nothing of it."""
        with self._writing() as connection:
            connection.execute(
                "UPDATE destinations SET state = :state, reason = :reason, retry_at = :retry_at, failures = :failures,"
                " holds_all = :holds_all, answered = :answered WHERE url = :url",
                destination._asdict() | {"state": destination.state.value},
            )

    def retry(self, picture: Picture) -> bool:
        """Look at a picture again now; False where there is nothing to do, as it is uploaded or being sent."""
        why = "asked for by hand"
        if picture.state in (State.PENDING, State.CONFLICT):
            values: dict[str, Any] = {"not_before": None, "reason": None}
            with self._writing() as connection:
                moved = self._move(picture.id, (picture.state,), State.PENDING, why, values)
                if moved:
                    connection.execute("UPDATE pictures SET recheck = 1 WHERE id = ? AND present = 0", (picture.id,))
                return moved
        if picture.state in (State.REJECTED, State.LOST):
            # The intake reads it again, and decides; a lost one only if its file is back.
            return self._move(picture.id, (picture.state,), picture.state, why, {"recheck": 1})
        return False

    def end_wait(self) -> None:
        """Let the configured destination be asked again at once."""
        with self._writing() as connection:
            connection.execute("UPDATE destinations SET retry_at = NULL WHERE configured = 1")

    def end_wait_for_network(self) -> None:
        """Let the configured destination be asked again at once where nothing but the network may have been in the way.

        A login page of another network may have answered in its place. Where it answered itself, or asked for a pause,
        a new network changes nothing; nor does it for an account or a picture that isn't accepted.
        """
        with self._writing(durable=False) as connection:
            connection.execute(
                "UPDATE destinations SET retry_at = NULL"
                " WHERE configured = 1 AND state IN ('unreachable', 'not_an_api') AND answered = 0"
            )

    def end_impossible_waits(self) -> None:
        """End the waits that end further ahead than any can: the clock was set back, and may not do so for long."""
        too_far = (self._clock() + self._longest_wait,)
        with self._writing(durable=False) as connection:
            connection.execute(
                f"UPDATE {_BY_WAIT} SET not_before = NULL WHERE state = 'pending' AND not_before > ?", too_far
            )
            connection.execute("UPDATE destinations SET retry_at = NULL WHERE retry_at > ?", too_far)

    def changed_by_another(self) -> bool:
        """Tell whether another process wrote to the outbox since this was last asked."""
        version = int(self._value("PRAGMA data_version"))
        changed, self._seen_version = version != self._seen_version, version
        return changed

    def _failed(self, picture: Picture) -> dict[str, Any]:
        return {"failed_since": self.accepted() if picture.failed_since is None else picture.failed_since}

    def _choose(self, most: int, which: str) -> Iterator[Picture]:
        # By one time for both: another falls due between two.
        now = self._clock()
        newest, oldest = self._due("datetime DESC", most, now, which), self._due("datetime", most, now, which)
        chosen: set[tuple[str | None, str | None]] = set()
        for picture in filter(None, chain.from_iterable(zip_longest(newest, oldest))):
            key = (picture.device and picture.device.lower(), picture.datetime)
            if len(chosen) < most and key not in chosen:
                chosen.add(key)
                yield picture

    def _due(self, order: str, most: int, now: float, which: str) -> list[Picture]:
        rows = self._rows(
            f"SELECT * FROM {_BY_TIME} WHERE {which}"
            " AND (not_before IS NULL OR not_before <= :now OR not_before > :now + :longest)"
            f" ORDER BY {order}, id LIMIT :most",
            {"now": now, "longest": self._longest_wait, "most": most},
        )
        with self._sound():
            return list(map(to_sendable, rows))

    def _forget_answers(self, why: str, is_here: Callable[[str], bool]) -> int:
        values = {**UNTRIED, "receipt_md5": None, "uploaded_at": None, "reason": None}
        answered = self._rows(
            "SELECT * FROM pictures WHERE removed_at IS NULL"
            " AND (state IN ('uploaded', 'conflict') OR (state = 'rejected' AND attempts > 0))"
        )
        changed = sum(
            self._move(picture.id, (picture.state,), State.PENDING, why, values)
            for picture in map(self._picture, answered)
            if is_here(picture.path)
        )
        # Should one of the others come back, it is read and sent: its receipt is another destination's.
        self._connection.execute("UPDATE pictures SET recheck = 1, reason = NULL WHERE state = 'uploaded'")
        return changed


def _claimable(*, untried: bool, smaller_than: int | None) -> str:
    """Say in SQL which pictures may be claimed."""
    smaller = "" if smaller_than is None else f" AND size < {smaller_than:d}"
    return f"{_SENDABLE}{' AND failed_since IS NULL' if untried else ''}{smaller}"
