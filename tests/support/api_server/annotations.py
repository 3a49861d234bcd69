"""Annotations of images: put all of a request or none, and answered by image or by series."""

import json
import time

from .generations import FILE_NAME_FORM
from .rows import API_VERSION

_COLUMNS = (
    *("id", "parent_image_id", "algo_name", "algo_version", "n_objects", "json"),
    *("datetime_created", "api_version", "api_user"),
)


class Annotations:
    """The three verbs. They raise ValueError, KeyError, TypeError and sqlite3.IntegrityError, and nobody is told."""

    def __init__(self, generation, store):
        """Keep what is needed."""
        self._generation = generation
        self._store = store

    def put(self, entries, account):
        """Store annotations, and return their rows."""
        rows = self._store.insert_annotations([self._row(entry, account) for entry in entries])
        return [self._written(row, "metadata") for row in rows]

    def of_images(self, entries, what):
        """Return the rows of some images' annotations."""
        if not entries and not self._generation.takes_empty_lists:
            raise ValueError("an empty list")
        read = self._generation.read_datetime
        images = (self._store.find(entry["device"], read(entry["datetime"])) for entry in entries)
        return self._of([image for image in images if image], what)

    def of_series(self, entries, what):
        """Return the rows of the annotations of images in some series."""
        read = self._generation.read_datetime
        series = ((entry["device"], read(entry["start_datetime"]), read(entry["end_datetime"])) for entry in entries)
        return self._of([image for one in series for image in self._store.find_series(*one)], what)

    def _row(self, entry, account):
        metadata = entry["metadata"]
        image = self._store.find(metadata["device"], self._generation.read_datetime(metadata["datetime"]))
        if image is None or image.md5 != metadata["md5"]:
            raise ValueError("not annotations of an image that is held")
        return {
            "parent_image_id": image.id,
            "algo_name": metadata["algo_name"],
            "algo_version": metadata["algo_version"],
            "n_objects": len(entry["annotations"]),
            "json": json.dumps(entry),
            "datetime_created": time.strftime(FILE_NAME_FORM, time.gmtime()),
            "api_version": API_VERSION,
            "api_user": account.name,
        }

    def _of(self, images, what):
        if what not in ("metadata", "json"):
            raise ValueError(what)
        return [self._written(row, what) for image in images for row in self._store.annotations_of(image.id)]

    def _written(self, row, what):
        written = {column: row[column] for column in _COLUMNS}
        written["datetime_created"] = self._generation.write_datetime(row["datetime_created"])
        return written if what == "json" else {**written, "json": ""}
