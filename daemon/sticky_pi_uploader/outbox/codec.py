"""Convert between rows and values: paths, which may not be UTF-8, and pictures; find damaged rows."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping
from types import NoneType
from typing import Any, Final

from ..models import (
    Destination,
    DestinationState,
    Event,
    Fingerprint,
    Hold,
    HoldCause,
    Picture,
    ReasonCode,
    State,
)
from .schema import coded

Row = sqlite3.Row | dict[str, Any]
_Kinds = tuple[type, ...]

_TEXT: Final[_Kinds] = (str, NoneType)
_PATH: Final[_Kinds] = (str, bytes)
_TIME: Final[_Kinds] = (int, float, NoneType)
_COUNT: Final[_Kinds] = (int, NoneType)

_PICTURE: Final[Mapping[str, _Kinds]] = {
    **dict.fromkeys(("folder", "name"), _PATH),
    **dict.fromkeys(("state", "file_system"), (str,)),
    **dict.fromkeys(("device", "datetime", "md5", "reason", "receipt_md5", "suspect", "metadata"), _TEXT),
    **dict.fromkeys(("reason_code", "got_md5"), _TEXT),
    **dict.fromkeys(("not_before", "uploaded_at", "removed_at", "dismissed_at"), _TIME),
    **dict.fromkeys(("failed_since", "refused_after", "size", "mtime_ns", "inode", "ctime_ns"), _COUNT),
    **dict.fromkeys(("attempts", "misses"), (int,)),
}
"""The types that each column of `pictures` may hold; SQLite doesn't enforce them"""

WITHOUT_METADATA: Final = ", ".join(
    (
        "id",
        "present",
        "recheck",
        "clock_synchronised",
        "urgent",
        "NULL AS metadata",
        *(name for name in _PICTURE if name != "metadata"),
    )
)
"""Columns of a picture's row without its metadata, which takes most of the memory"""

_NEW_COLUMNS: Final = ("clock_synchronised", "ctime_ns", "dismissed_at", "reason_code", "got_md5", "urgent")
"""Columns that outboxes of earlier releases lack until they are opened for writing; the last is the newest"""

_EVENT: Final[Mapping[str, _Kinds]] = {"at": (int, float), "state": (str,), "why": (str,)}
_DESTINATION: Final[Mapping[str, _Kinds]] = {
    **dict.fromkeys(("url", "state"), (str,)),
    "reason": _TEXT,
    "retry_at": _TIME,
    **dict.fromkeys(("failures", "accepted"), (int,)),
}

_FOLDER: Final[Mapping[str, _Kinds]] = {**dict.fromkeys(("inode", "mtime_ns", "ctime_ns"), (int,)), "at": (int, float)}
_TASK: Final[Mapping[str, _Kinds]] = {"task": (str,), "at": (int, float)}
_HOLD: Final[Mapping[str, _Kinds]] = {"cause": (str,), "reason": (str,), "since": (int, float), "until": _TIME}


def split_path(path: str) -> tuple[str | bytes, str | bytes]:
    """Split a path into its folder and name as the columns hold them: text, or bytes where it isn't UTF-8."""
    folder, name = os.path.split(path)
    return column(folder), column(name)


def column(text: str) -> str | bytes:
    """Return a path, or a part of one, as a column holds it."""
    return text if text.isascii() or _is_unicode(text) else os.fsencode(text)


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def to_path(value: object) -> str:
    """Return the path, or the part of one, that a column holds. Raises ValueError or TypeError if it is damaged."""
    if not isinstance(value, str | bytes):
        raise TypeError(f"a path can't be {value!r:.40}")
    path = os.fsdecode(value)
    if "\0" in path:
        raise ValueError(f"a path can't be {path!a:.60}")
    return path


def repair(row: sqlite3.Row) -> dict[str, Any]:
    """Return a row of `pictures` with None or 0 in place of damaged values that a picture doesn't need."""
    values = dict(_with_new_columns(row))
    wrong = {name: kinds for name, kinds in _PICTURE.items() if not isinstance(values[name], kinds)}
    return values | {name: None if NoneType in kinds else 0 for name, kinds in wrong.items() if str not in kinds}


def to_picture(row: Row) -> Picture:
    """Return the picture of a whole row of `pictures`. Raises ValueError or TypeError if the row is damaged."""
    row = _with_new_columns(row)
    _check(row, _PICTURE)
    path = os.path.join(to_path(row["folder"]), to_path(row["name"]))
    fingerprint = None
    if row["size"] is not None:
        fingerprint = Fingerprint(row["size"], row["mtime_ns"], row["inode"], row["ctime_ns"])
    return Picture(
        id=row["id"],
        path=path,
        device=row["device"],
        datetime=row["datetime"],
        md5=row["md5"],
        state=State(row["state"]),
        attempts=row["attempts"],
        misses=row["misses"],
        failed_since=row["failed_since"],
        refused_after=row["refused_after"],
        not_before=row["not_before"],
        reason=row["reason"],
        receipt_md5=row["receipt_md5"],
        uploaded_at=row["uploaded_at"],
        removed_at=row["removed_at"],
        dismissed_at=row["dismissed_at"],
        suspect=row["suspect"],
        metadata=_metadata(row["metadata"]),
        fingerprint=fingerprint,
        file_system=row["file_system"],
        clock_synchronised=None if row["clock_synchronised"] is None else bool(row["clock_synchronised"]),
        reason_code=None if row["reason_code"] is None else ReasonCode(row["reason_code"]),
        got_md5=row["got_md5"],
        present=bool(row["present"]),
        recheck=bool(row["recheck"]),
        urgent=bool(row["urgent"]),
    )


def metadata_text(metadata: Mapping[str, Any] | None) -> str | None:
    """Return a picture's metadata as they are stored."""
    if metadata is None:
        return None
    import json  # a start that finds nothing new needs none

    return json.dumps(dict(metadata))


def _metadata(text: str | None) -> Mapping[str, Any] | None:
    if text is None:
        return None
    import json

    found: Mapping[str, Any] = json.loads(text)
    return found


def to_sendable(row: Row) -> Picture:
    """Return the picture of a row that is to be sent.

    Its key must match its file name; otherwise the destination would store it as another picture. Raises ValueError or
    TypeError if the row is damaged.
    """
    picture = to_picture(row)
    key = f"{picture.device}.{picture.datetime}.jpg".replace("T", "_").replace(":", "-").replace("Z.", ".")
    if key.lower() != os.path.basename(picture.path).lower():
        raise ValueError(f"{os.path.basename(picture.path)!a:.60} can't be {key!a:.60}")
    return picture


def to_event(row: sqlite3.Row) -> Event:
    """Return the event of a row of `history`. Raises ValueError or TypeError if the row is damaged."""
    _check(row, _EVENT)
    return Event(float(row["at"]), State(row["state"]), row["why"])


def to_destination(row: sqlite3.Row) -> Destination:
    """Return the destination of a row of `destinations`. Raises ValueError or TypeError if the row is damaged."""
    _check(row, _DESTINATION)
    state = DestinationState(row["state"])
    flags = (bool(row["holds_all"]), bool(row["answered"]))
    return Destination(row["url"], state, row["reason"], row["retry_at"], row["failures"], *flags)


def to_hold(row: sqlite3.Row) -> Hold:
    """Return the hold of a row of `hold`. Raises ValueError or TypeError if the row is damaged."""
    _check(row, _HOLD)
    return Hold(HoldCause(row["cause"]), row["reason"], row["since"], row["until"])


def to_folder(row: sqlite3.Row) -> tuple[str, tuple[int, int, int, float]]:
    """Return the path and the fields of a row of `folders`. Raises ValueError or TypeError if the row is damaged."""
    _check(row, _FOLDER)
    return to_path(row["folder"]), (row["inode"], row["mtime_ns"], row["ctime_ns"], float(row["at"]))


def check_task(row: sqlite3.Row) -> None:
    """Raise TypeError if a row of `tasks` is damaged."""
    _check(row, _TASK)


def _check(row: Row, kinds: Mapping[str, _Kinds]) -> None:
    for name, kind in kinds.items():
        if not isinstance(row[name], kind):
            raise TypeError(f"{name} can't be {row[name]!r:.40}")


def _with_new_columns(row: Row) -> Row:
    """Return the row, with the values of columns that its outbox lacks because an earlier release wrote it."""
    try:
        row[_NEW_COLUMNS[-1]]
    except LookupError:
        values = dict(row)
        return dict.fromkeys(_NEW_COLUMNS) | coded(values["state"], values["reason"]) | values
    return row
