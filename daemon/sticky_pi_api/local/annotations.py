"""Query and fill the embedded store's table of annotations."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sticky_pi_api.local.images import ImagesDatabase
from sticky_pi_api.local.schema import API_VERSION, to_datetime, to_text
from sticky_pi_api.sqlite.connection import IntegrityError
from sticky_pi_api.types import Info, Row
from sticky_pi_api.utils import utc_now
from sticky_pi_api.validation.annotations import COLUMNS, Annotations, checked_annotation_what, checked_annotations
from sticky_pi_api.validation.queries import image_keys, next_second, series_of

_OF_IMAGES: Final = "FROM images JOIN uid_annotations AS found ON found.parent_image_id = images.id"


class AnnotationsTable:
    """The annotations of the images in a database; all methods raise StoreError where that fails."""

    def __init__(self, database: ImagesDatabase) -> None:
        self._database = database

    def add(self, info: Iterable[Info]) -> list[Row]:
        """Add annotations, all or none, and return their rows, with an empty `json`.

        Raises ValueError, also where an image isn't held or has other bytes, and sqlite3.IntegrityError.
        """
        annotations = checked_annotations(info)
        with self._database.writing():
            return [self._add(one) for one in annotations]

    def find(self, info: Iterable[Info], what: str) -> list[Row]:
        """Return the rows of images, in the order of `info`, each once. Raises ValueError."""
        sql = f"SELECT {_columns(what)} {_OF_IMAGES} WHERE device = ? AND datetime = ? ORDER BY found.id"
        return [
            row
            for device, when in dict.fromkeys((device.lower(), when) for device, when in image_keys(info))
            for row in self._query(sql, device, to_text(when))
        ]

    def find_series(self, info: Iterable[Info], what: str) -> list[Row]:
        """Return the rows of the images of series, each series sorted by device and datetime. Raises ValueError."""
        sql = (
            f"SELECT {_columns(what)} {_OF_IMAGES} WHERE device LIKE ? AND datetime >= ? AND datetime < ?"
            " ORDER BY device, datetime, found.id"
        )
        return [
            row
            for device, *bounds in series_of(info)
            for row in self._query(sql, device, *(to_text(next_second(when)) for when in bounds))
        ]

    def _add(self, one: Annotations) -> Row:
        held = self._database.find([one.key])
        one.check_parent(held[0] if held else None)
        row = {
            "parent_image_id": held[0]["id"],
            "algo_name": one.algo_name,
            "algo_version": one.algo_version,
            "n_objects": one.n_objects,
            "json": one.json,
            "datetime_created": to_text(utc_now()),
            "api_version": API_VERSION,
        }
        try:
            number = self._database.add("uid_annotations", row)
        except IntegrityError:
            raise IntegrityError(one.held_already()) from None
        return _to_row({**dict.fromkeys(COLUMNS), **row, "id": number, "json": ""})

    def _query(self, sql: str, *parameters: object) -> list[Row]:
        return [_to_row(dict(found)) for found in self._database.read(sql, *parameters)]


def _columns(what: str) -> str:
    """Return the columns as SQL, with the JSON only if it is wanted: SQLite then doesn't read it. Raises ValueError."""
    what = checked_annotation_what(what)
    return ", ".join(f"found.{name}" if name != "json" or what == "json" else "'' AS json" for name in COLUMNS)


def _to_row(found: Row) -> Row:
    return {**found, "datetime_created": to_datetime(found["datetime_created"])}
