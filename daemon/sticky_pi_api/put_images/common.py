"""One `put_images`: each picture looked at, a few ahead on threads, and settled in the order they were given."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from functools import partial
from itertools import islice
from typing import Any, NamedTuple, TypeVar

from sticky_pi_api.exceptions import ConflictError, ImageChangedError, ImageError, StoreError
from sticky_pi_api.image_parser import ImageParser
from sticky_pi_api.images.filename import parse_filename
from sticky_pi_api.put_images.checksum_cache import FileCache
from sticky_pi_api.types import FilePath, ImageOutcome, Key, Outcome, Row
from sticky_pi_api.utils import md5

CHUNK = 256
"""How many pictures are asked for at once"""

Held = dict[Key | None, Row]
Found = ImageParser | str | Exception
"""All that there is to know of a picture, or its md5 alone, or why neither is to be had"""
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class Picture(NamedTuple):
    """One of the pictures to put."""

    file: str
    source: FilePath | ImageParser
    key: Key | None = None
    """the device in lower case, and the datetime"""
    error: ImageError | None = None
    """why it has no key"""


class Batch:
    """Puts pictures into a store, and says what became of each."""

    def __init__(
        self,
        ask: Callable[[list[dict[str, Any]]], list[Row]],
        put_if_absent: Callable[[ImageParser], tuple[Row, bool]],
        n_threads: int,
        cache: FileCache,
    ) -> None:
        """Take the store's two verbs, as `BaseAPISpec` has them.

        Pictures are read and decoded on at most `n_threads` threads, each of which holds one picture's bytes; those
        that are held, and that `cache` knows, aren't read.
        """
        self._ask = ask
        self._put_if_absent = put_if_absent
        self._n_threads = n_threads
        self._cache = cache
        self._down: StoreError | None = None

    def outcomes(self, files: Iterable[FilePath | ImageParser]) -> Generator[ImageOutcome, None, None]:
        """Yield each picture's outcome, in order, as soon as it is known; close it to stop before the end."""
        remaining = iter(files)
        while chunk := [identify(file) for file in islice(remaining, CHUNK)]:
            held = self._held(chunk)
            known = recognise(self._cache, chunk, held)
            n_threads = min(
                self._n_threads,
                sum(not (isinstance(picture.source, ImageParser) or is_known(picture, known)) for picture in chunk),
            )
            with closing(_ahead(partial(self._look, held, known), chunk, n_threads)) as looks:
                for picture, found in zip(chunk, looks, strict=True):
                    yield self._settle(picture, found, held)

    def _held(self, pictures: Sequence[Picture]) -> Held:
        """Return the rows that are held under the pictures' keys."""
        asked = [{"device": picture.key[0], "datetime": picture.key[1]} for picture in pictures if picture.key]
        if not asked or self._down:
            return {}
        try:
            return {(row["device"].lower(), row["datetime"]): row for row in self._ask(asked)}
        except StoreError as error:
            self._down = error
            return {}

    def _look(self, held: Held, known: set[str], picture: Picture) -> Found:
        """Find out what is needed of a picture; runs on a thread."""
        if error := picture.error or self._down:
            return error
        if is_known(picture, known):
            return str(held[picture.key]["md5"])
        try:
            return look(picture, self._cache, is_held=picture.key in held)
        except (ImageError, OSError) as failure:
            return failure

    def _settle(self, picture: Picture, found: Found, held: Held) -> ImageOutcome:
        if isinstance(found, Exception):
            return failure_outcome(picture, found)
        if isinstance(found, str):
            return compare(picture, found, held[picture.key])
        try:
            row, is_new = (held[picture.key], False) if picture.key in held else self._put(found)
        except (ImageError, StoreError, OSError) as error:
            return failure_outcome(picture, error)
        return ImageOutcome(picture.file, Outcome.STORED, row) if is_new else compare(picture, found["md5"], row)

    def _put(self, image: ImageParser) -> tuple[Row, bool]:
        if self._down:
            raise self._down
        try:
            return self._put_if_absent(image)
        except StoreError as error:
            # The others would only be read and decoded for nothing.
            self._down = error if error.whole_store else None
            raise


def identify(file: FilePath | ImageParser) -> Picture:
    """Find out which picture it is, from its name alone."""
    if isinstance(file, ImageParser):
        return Picture(file.path or file.filename, file, (file["device"].lower(), file["datetime"]))
    path = os.fsdecode(file)
    try:
        device, when = parse_filename(path)
    except ImageError as error:
        return Picture(path, path, error=error)
    return Picture(path, path, (device.lower(), when))


def recognise(cache: FileCache, pictures: Iterable[Picture], held: Held) -> set[str]:
    """Return the files of those pictures that `cache` knows to be the ones that are held."""
    return cache.recognised(
        {
            picture.file: held[picture.key]["md5"]
            for picture in pictures
            if picture.key in held and not isinstance(picture.source, ImageParser)
        }
    )


def is_known(picture: Picture, known: set[str]) -> bool:
    """Tell whether a picture is one of the files that were recognised."""
    return picture.file in known and not isinstance(picture.source, ImageParser)


def look(picture: Picture, cache: FileCache, *, is_held: bool) -> ImageParser | str:
    """Return what is needed of a picture: its md5 where its key is held, else all. Raises ImageError and OSError."""
    if isinstance(picture.source, ImageParser):
        return picture.source
    sighting = cache.sight(picture.file)
    found = md5(picture.source) if is_held else ImageParser(picture.source)
    cache.remember(sighting, found if isinstance(found, str) else found["md5"])
    return found


def compare(picture: Picture, md5: str, row: Row) -> ImageOutcome:
    """Return the outcome of a picture with this md5 whose key is held by `row`."""
    if row["md5"] == md5:
        return ImageOutcome(picture.file, Outcome.HELD, row)
    return ImageOutcome(picture.file, Outcome.CONFLICT, row, ConflictError(picture.file, row["md5"]))


def failure_outcome(picture: Picture, error: Exception) -> ImageOutcome:
    """Return the outcome of a picture that nothing was done with, because of `error`."""
    refused = isinstance(error, ImageError) and not isinstance(error, ImageChangedError)
    return ImageOutcome(picture.file, Outcome.REFUSED if refused else Outcome.UNSENT, error=error)


def _ahead(
    function: Callable[[_Item], _Result], items: Iterable[_Item], n_threads: int
) -> Generator[_Result, None, None]:
    """Yield function(item) of each in order, working on as many ahead as there are threads; one is none."""
    if n_threads <= 1:
        yield from map(function, items)
        return
    from concurrent.futures import Future, ThreadPoolExecutor

    pool = ThreadPoolExecutor(n_threads, thread_name_prefix="put-images")
    try:
        waiting: deque[Future[_Result]] = deque()
        for item in items:
            if len(waiting) == n_threads:
                yield waiting.popleft().result()
            waiting.append(pool.submit(function, item))
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
