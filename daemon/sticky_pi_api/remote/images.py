"""Ask a server for images, by key or by series: in whole seconds, in parts, each key once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import Final

from sticky_pi_api.put_images.remote import KEYS_PER_QUESTION
from sticky_pi_api.remote.responses import read_rows
from sticky_pi_api.remote.server import SHORT_ANSWER, Server
from sticky_pi_api.transport.cancellation import CancelScope
from sticky_pi_api.types import Key, Row, key_of, make_key
from sticky_pi_api.utils import datetime_to_string
from sticky_pi_api.validation.queries import next_second

_LARGEST_ROW: Final = 8192
"""Largest decompressed row of one picture, in bytes: some 600 and a signed link"""

_SERIES_TIME: Final = 600.0
"""Time that a question about a series may take longer than other questions, in seconds"""


def find_images(
    server: Server,
    keys: Sequence[Key],
    path: str,
    scope: CancelScope | None = None,
    *,
    read: Callable[[bytes], list[Row]] = read_rows,
) -> list[Row]:
    """Return the rows of keys, each once, in their order. Raises RemoteError."""
    found: dict[Key, Row] = {}
    for chunk in chunks(keys, KEYS_PER_QUESTION):
        largest = SHORT_ANSWER + _LARGEST_ROW * len(chunk)
        is_small = len(chunk) == 1
        answer = server.ask(
            path, write_keys(chunk), read, is_small=is_small, is_quick=True, largest=largest, scope=scope
        )
        rows = {key_of(row): row for row in answer}
        found |= {key: rows[key] for key in chunk if key in rows}
    return list(found.values())


def find_series(  # noqa: PLR0917 - a server's path, and a series
    server: Server,
    path: str,
    device: str,
    start: datetime,
    end: datetime,
    read: Callable[[bytes], list[Row]] = read_rows,
) -> list[Row]:
    """Return the rows of a series, in the server's order. Raises RemoteError."""
    bounds = {"start_datetime": start, "end_datetime": end}
    entry = {"device": device, **{name: datetime_to_string(next_second(when)) for name, when in bounds.items()}}
    return server.ask(path, [entry], read, seconds=_SERIES_TIME)


def chunks(keys: Iterable[Key], most: int) -> Iterator[list[Key]]:
    """Yield the keys in lists of at most `most`, each once; leave out those that no server can hold.

    Servers know whole seconds only, and fail at an empty question.
    """
    wanted = iter(dict.fromkeys(make_key(device, when) for device, when in keys if not when.microsecond))
    while chunk := list(islice(wanted, most)):
        yield chunk


def write_keys(keys: Iterable[Key]) -> list[dict[str, str]]:
    """Return keys as the entries of a request."""
    return [{"device": device, "datetime": datetime_to_string(when)} for device, when in keys]
