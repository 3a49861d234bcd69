"""The steps with one picture of a batch: find its key, recognise or read it, compare it with the row held."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import NamedTuple

from sticky_pi_api.exceptions import ConflictError, ImageChangedError, ImageError
from sticky_pi_api.image_parser import ImageParser
from sticky_pi_api.images.filename import parse_filename
from sticky_pi_api.put_images.checksum_cache import FileCache
from sticky_pi_api.types import FilePath, ImageOutcome, Key, Outcome, Row, key_of, make_key
from sticky_pi_api.utils import md5

HeldRows = dict[Key | None, Row]
"""The rows that a destination holds, by their keys"""


class Picture(NamedTuple):
    """A picture to put, by its path or parsed already."""

    file: str
    key: Key | None = None
    parsed: ImageParser | None = None
    error: ImageError | None = None
    """why it has no key"""


def identify(file: FilePath | ImageParser) -> Picture:
    """Return a picture with its key, which the name alone gives, or with the reason why it has none."""
    if isinstance(file, ImageParser):
        return Picture(file.path or file.filename, key_of(file), file)
    path = os.fsdecode(file)
    try:
        device, when = parse_filename(path)
    except ImageError as error:
        return Picture(path, error=error)
    return Picture(path, make_key(device, when))


def recognise(cache: FileCache, pictures: Iterable[Picture], held: HeldRows) -> set[str]:
    """Return those files that `cache` knows to be the held pictures, so that they needn't be read."""
    unread = [picture for picture in pictures if picture.parsed is None and picture.key in held]
    return cache.recognised({picture.file: held[picture.key]["md5"] for picture in unread})


def read(picture: Picture, cache: FileCache, *, is_held: bool) -> ImageParser | str:
    """Return the md5 of a picture whose key is held, and other pictures parsed. Raises ImageError and OSError."""
    if picture.parsed is not None:
        return picture.parsed
    sighting = cache.sight(picture.file)
    found = md5(picture.file) if is_held else ImageParser(picture.file)
    cache.remember(sighting, found if isinstance(found, str) else found["md5"])
    return found


def compare(picture: Picture, md5: str, row: Row) -> ImageOutcome:
    """Return the outcome of a picture with this md5 whose key is held by `row`."""
    if row["md5"] == md5:
        return ImageOutcome(picture.file, Outcome.HELD, row)
    return ImageOutcome(picture.file, Outcome.CONFLICT, row, ConflictError(picture.file, row["md5"]))


def failure_outcome(picture: Picture, error: Exception) -> ImageOutcome:
    """Return the outcome of a picture that wasn't stored because of `error`."""
    refused = isinstance(error, ImageError) and not isinstance(error, ImageChangedError)
    return ImageOutcome(picture.file, Outcome.REFUSED if refused else Outcome.UNSENT, error=error)
