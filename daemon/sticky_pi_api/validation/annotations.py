"""Check the annotations in requests: an algorithm's findings on an image, which are stored whole as JSON."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from sticky_pi_api.types import Info, Key, Row, key_of
from sticky_pi_api.utils import datetime_to_string
from sticky_pi_api.validation.queries import image_keys, text_of

WHATS: Final = ("metadata", "json")
"""The values of `what` for annotations; `data` means `json`"""

COLUMNS: Final = (
    *("id", "parent_image_id", "algo_name", "algo_version", "n_objects", "json"),
    *("datetime_created", "api_version", "api_user"),
)
"""The columns of a row of annotations; `parent_image_id` is the `id` of its image's row"""


class Annotations(NamedTuple):
    """The findings of one version of an algorithm on one image."""

    place: str
    """its place in the request, for messages"""
    key: Key
    """of the image"""
    md5: str
    """of the analysed image, in lower case"""
    algo_name: str
    algo_version: str
    n_objects: int
    json: str
    """the whole entry, as one JSON object"""

    def check_parent(self, row: Row | None) -> None:
        """Raise ValueError unless `row`, which is held under the key, is the row of the analysed image."""
        image = f"image of 'device' {self.key[0]!r} and 'datetime' {datetime_to_string(self.key[1])!r}"
        if row is None:
            raise ValueError(f"{self.place}: there is no {image}")
        if row["md5"].lower() != self.md5:
            raise ValueError(f"{self.place}: 'md5' is {self.md5!r}, but that of the {image} is {row['md5']!r}")

    def held_already(self) -> str:
        """Return the text of the error that its image has annotations of this algorithm and version already."""
        return (
            f"{self.place}: there are annotations by 'algo_name' {self.algo_name!r} and 'algo_version' "
            f"{self.algo_version!r} of its image already"
        )


def checked_annotation_what(what: str) -> str:
    """Return one of WHATS. Raises ValueError, which lists them, for other values."""
    if (known := "json" if what == "data" else what) in WHATS:
        return known
    raise ValueError(f"what is {what!r}; it must be one of {', '.join(WHATS)}")


def checked_annotations(info: Iterable[Info], *, for_server: bool = False) -> list[Annotations]:
    """Return the annotations of a request, as `put_uid_annotations` gets them. Raises ValueError.

    For a server, the JSON has the image's datetime in the form that servers of all releases read.
    """
    return [_checked(f"info[{index}]", entry, for_server=for_server) for index, entry in enumerate(info)]


def join_annotations(images: Iterable[Row], annotations: Iterable[Row]) -> list[Row]:
    """Return the row of each image joined with each of its annotations, or with None in their fields, sorted by key.

    A field's name ends in `_annot` where the images have a field of this name.
    """
    by_key = {key_of(row): row for row in images}
    of_image: dict[int, dict[tuple[str, str], Row]] = defaultdict(dict)
    for found in annotations:
        of_image[found["parent_image_id"]][found["algo_name"], found["algo_version"]] = found
    taken = {name for row in by_key.values() for name in row}
    names = dict.fromkeys((*COLUMNS, *(name for those in of_image.values() for row in those.values() for name in row)))
    renamed = {name: f"{name}_annot" if name in taken else name for name in names}
    nothing: Row = {}
    return [
        {**image, **{new: found.get(name) for name, new in renamed.items()}}
        for _, image in sorted(by_key.items())
        for found in _annotations_of(image, of_image) or [nothing]
    ]


def _annotations_of(image: Row, of_image: Mapping[int, Mapping[Any, Row]]) -> list[Row]:
    number = image.get("id")
    # A server's answer may have another type in its place.
    return list(of_image[number].values()) if isinstance(number, int) and number in of_image else []


def _checked(place: str, entry: Info, *, for_server: bool) -> Annotations:
    if not isinstance(entry, Mapping):
        raise ValueError(f"{place} isn't a dict of 'annotations' and 'metadata'")  # noqa: TRY004 - all faults of a request are ValueErrors
    found, metadata = (_part(place, entry, name) for name in ("annotations", "metadata"))
    if not isinstance(found, list) or not all(isinstance(one, Mapping) for one in found):
        raise ValueError(f"{place}: 'annotations' isn't a list of dicts")
    if not isinstance(metadata, Mapping):
        raise ValueError(f"{place}: 'metadata' isn't a dict")  # noqa: TRY004
    try:
        key = image_keys([metadata])[0]
        md5, name, version = (text_of(metadata, field) for field in ("md5", "algo_name", "algo_version"))
    except ValueError as error:
        raise ValueError(f"{place}, metadata: {error}") from None
    if for_server:
        entry = {**entry, "metadata": {**metadata, "datetime": key[1]}}
    return Annotations(place, key, md5.lower(), name, version, len(found), _json(place, entry))


def _part(place: str, entry: Info, name: str) -> Any:
    if name not in entry:
        raise ValueError(f"{place}: '{name}' is missing")
    return entry[name]


def _json(place: str, entry: Info) -> str:
    try:
        return json.dumps(entry, default=_plain, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{place} has no JSON form: {error}") from None


def _plain(value: object) -> object:
    """Convert values without a JSON form: datetimes, mappings, and arrays of numpy."""
    if isinstance(value, datetime):
        return datetime_to_string(value)
    if isinstance(value, Mapping):
        return dict(value)
    if callable(tolist := getattr(value, "tolist", None)):
        return tolist()
    raise TypeError(f"JSON has no {type(value).__name__}")


def in_requests(annotations: Sequence[Annotations], most: int) -> list[list[Annotations]]:
    """Return the annotations in groups of at most `most` bytes of JSON, or of a single larger one."""
    groups: list[list[Annotations]] = []
    size = most
    for one in annotations:
        if size + len(one.json) > most or not groups:
            groups.append([])
            size = 0
        groups[-1].append(one)
        size += len(one.json)
    return groups
