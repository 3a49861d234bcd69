"""Record the answers of destinations, and count the evidence on whether the destination or a picture is at fault."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ..models import Destination, Picture, State
from .codec import to_destination
from .database import Database, Part
from .schema import UNTRIED, rank_unsent

_ACCEPTED: Final = "(SELECT accepted FROM destinations WHERE configured = 1)"

_NOTED_SINCE_UPLOADED: Final = (
    "(SELECT count(*) FROM history WHERE picture_id = pictures.id AND history.id > ifnull((SELECT max(id) FROM history"
    " AS earlier WHERE picture_id = pictures.id AND earlier.state != 'uploaded'), 0)) > 1"
)
"""Condition of the uploaded pictures that have more in their history than the upload: their file may be another one"""

_CHANGED_STATE: Final = (
    "(SELECT state FROM history AS before WHERE before.picture_id = history.picture_id AND before.id < history.id"
    " ORDER BY id DESC LIMIT 1) IS NOT history.state"
)
"""Condition of the lines of history at which a picture changed its state; others record a removal, for example"""


class Destinations(Part):
    """The configured destination, and earlier ones."""

    def get(self, url: str) -> Destination:
        """Return how the destination at `url` answered when it was last asked."""
        return destination_at(self._database, url)

    def change(self, url: str, is_here: Callable[[str], bool]) -> int:
        """Make `url` the configured destination; if it was another, make the pictures that it answered pending again.

        Receipts, conflicts and refusals are those of one destination. `is_here` returns whether the file at a path is
        there; pictures without their file keep their receipt. Return the number of changed pictures.
        """
        with self._database.writing() as connection:
            configured = self._database.rows("SELECT url FROM destinations WHERE configured = 1")
            before = next((row["url"] for row in configured), url)
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

    def update(self, destination: Destination) -> None:
        """Record the answer of a destination, so that it outlasts a reboot."""
        with self._database.writing() as connection:
            connection.execute(
                "UPDATE destinations SET state = :state, reason = :reason, retry_at = :retry_at, failures = :failures,"
                " holds_all = :holds_all, answered = :answered WHERE url = :url",
                destination._asdict() | {"state": destination.state.value},
            )

    def end_wait(self) -> None:
        """End the wait of the configured destination."""
        with self._database.writing() as connection:
            connection.execute("UPDATE destinations SET retry_at = NULL WHERE configured = 1")

    def end_wait_for_network(self) -> None:
        """End the wait of the configured destination if the network may be its cause.

        A login page of another network may have answered in its place. If the destination itself answered, asked for a
        pause, or accepted no account or picture, a new network changes nothing.
        """
        with self._database.writing(durable=False) as connection:
            connection.execute(
                "UPDATE destinations SET retry_at = NULL"
                " WHERE configured = 1 AND state IN ('unreachable', 'not_an_api') AND answered = 0"
            )

    def end_waits_beyond(self, latest: float) -> None:
        """End the waits that end after a Unix time; the step isn't durable."""
        with self._database.writing(durable=False) as connection:
            connection.execute("UPDATE destinations SET retry_at = NULL WHERE retry_at > ?", (latest,))

    def accepted(self) -> int:
        """Return the number of pictures that the configured destination ever took: a clock that nobody can set."""
        return int(self._database.number(f"SELECT {_ACCEPTED}") or 0)

    def count_accepted(self, url: str) -> None:
        """Record that the destination at `url` took one more picture."""
        with self._database.writing() as connection:
            connection.execute("UPDATE destinations SET accepted = accepted + 1 WHERE url = ?", (url,))

    def others_refused(self, picture: Picture) -> int:
        """Count the other pictures to be sent, each key once, that were refused since the destination last took one."""
        count: int = self._database.value(
            "SELECT count(DISTINCT lower(device) || datetime) FROM pictures WHERE state IN ('pending', 'uploading')"
            f" AND refused_after = {_ACCEPTED} AND NOT (device = ? AND datetime = ?)",
            (picture.device, picture.datetime),
        )
        return count

    def lately_failed(self) -> int:
        """Count the pictures to be sent, each key once, that failed only since the destination last took one.

        If one failed before as well, the picture itself may be the cause.
        """
        count: int = self._database.value(
            "SELECT count(DISTINCT lower(device) || datetime) FROM pictures WHERE state IN ('pending', 'uploading')"
            f" AND failed_since = {_ACCEPTED}"
        )
        return count

    def forget_refusals(self) -> None:
        """Delete the refusals since the destination last took a picture: they are no evidence against the pictures."""
        with self._database.writing() as connection:
            connection.execute(
                f"UPDATE pictures SET refused_after = NULL WHERE state = 'pending' AND refused_after = {_ACCEPTED}"
            )

    def clashes_in_a_row(self) -> int:
        """Count the pictures, each key once, in conflict with the destination since it last held one with our bytes."""
        count: int = self._database.value(
            "SELECT count(DISTINCT lower(device) || datetime) FROM pictures JOIN history ON picture_id = pictures.id"
            " WHERE pictures.state = 'conflict' AND reason_code = 'clash' AND history.state = 'conflict'"
            f" AND {_CHANGED_STATE} AND history.id > ifnull((SELECT id FROM history WHERE state = 'uploaded'"
            f" AND {_CHANGED_STATE} ORDER BY id DESC LIMIT 1), 0)"
        )
        return count

    def _forget_answers(self, why: str, is_here: Callable[[str], bool]) -> int:
        values = {**UNTRIED, "receipt_md5": None, "uploaded_at": None, "reason": None}
        self._database.connection.execute(
            f"UPDATE pictures SET recheck = 1 WHERE state = 'uploaded' AND {_NOTED_SINCE_UPLOADED}"
        )
        answered = self._database.pictures(
            "SELECT * FROM pictures WHERE removed_at IS NULL"
            " AND (state IN ('uploaded', 'conflict') OR (state = 'rejected' AND attempts > 0))"
        )
        changed = sum(
            self._database.move(picture.id, (picture.state,), State.PENDING, why, values)
            for picture in answered
            if is_here(picture.path)
        )
        rank_unsent(self._database.connection)
        # If one of the other files comes back, it is read and sent: its receipt is another destination's.
        self._database.connection.execute("UPDATE pictures SET recheck = 1, reason = NULL WHERE state = 'uploaded'")
        return changed


def destination_at(database: Database, url: str) -> Destination:
    """Return how the destination at `url` answered when it was last asked."""
    for row in database.rows("SELECT * FROM destinations WHERE url = ?", (url,)):
        with database.damage_told():
            return to_destination(row)
    return Destination(url)
