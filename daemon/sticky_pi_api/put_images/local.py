"""Put pictures into a store: read them a few ahead on threads, and yield their outcomes in the order of the files."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from functools import partial
from itertools import islice
from typing import Any, Final, TypeVar

from sticky_pi_api.exceptions import ImageError, StoreError
from sticky_pi_api.image_parser import ImageParser
from sticky_pi_api.put_images.checksum_cache import FileCache
from sticky_pi_api.put_images.picture import HeldRows, Picture, compare, failure_outcome, identify, read, recognise
from sticky_pi_api.types import FilePath, ImageOutcome, Outcome, Row, key_of

PICTURES_PER_QUESTION: Final = 256
"""How many pictures a store is asked for at once"""

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class Batch:
    """One `put_images` to a store."""

    def __init__(
        self,
        ask: Callable[[list[dict[str, Any]]], list[Row]],
        put_if_absent: Callable[[ImageParser], tuple[Row, bool]],
        n_threads: int,
        cache: FileCache,
    ) -> None:
        """Use two methods of the store: `get_images` and `_put_if_absent`.

        Pictures are read and decoded on at most `n_threads` threads, each of which holds the bytes of one picture.
        """
        self._ask = ask
        self._put_if_absent = put_if_absent
        self._n_threads = n_threads
        self._cache = cache
        self._down: StoreError | None = None

    def outcomes(self, files: Iterable[FilePath | ImageParser]) -> Generator[ImageOutcome, None, None]:
        """Yield each picture's outcome, in order, as soon as it is known; close it to stop before the end."""
        remaining = iter(files)
        while pictures := [identify(file) for file in islice(remaining, PICTURES_PER_QUESTION)]:
            held = self._find(pictures)
            known = recognise(self._cache, pictures, held)
            unread = sum(picture.parsed is None and picture.file not in known for picture in pictures)
            ahead = _ahead(partial(self._read, held, known), pictures, min(self._n_threads, unread))
            with closing(ahead) as results:
                for picture, found in zip(pictures, results, strict=True):
                    yield self._settle(picture, found, held)

    def _find(self, pictures: Sequence[Picture]) -> HeldRows:
        asked = [{"device": picture.key[0], "datetime": picture.key[1]} for picture in pictures if picture.key]
        if not asked or self._down:
            return {}
        try:
            return {key_of(row): row for row in self._ask(asked)}
        except StoreError as error:
            self._down = error
            return {}

    def _read(self, held: HeldRows, known: set[str], picture: Picture) -> ImageParser | str | Exception:
        """Read a picture, if needed, on a thread; return an error instead of raising it."""
        if error := picture.error or self._down:
            return error
        if picture.parsed is None and picture.file in known:
            return str(held[picture.key]["md5"])
        try:
            return read(picture, self._cache, is_held=picture.key in held)
        except (ImageError, OSError) as failure:
            return failure

    def _settle(self, picture: Picture, found: ImageParser | str | Exception, held: HeldRows) -> ImageOutcome:
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
            # Once it is set, the other pictures are neither read nor decoded.
            self._down = error if error.whole_store else None
            raise


def _ahead(
    function: Callable[[_Item], _Result], items: Iterable[_Item], n_threads: int
) -> Generator[_Result, None, None]:
    """Yield function(item) of each item in order, working ahead on threads if there are two or more."""
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
