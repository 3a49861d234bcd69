"""Write the keys and series of images as a server is asked for them: in whole seconds, in parts, each key once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from sticky_pi_api.local.images import next_second
from sticky_pi_api.types import Key, make_key
from sticky_pi_api.utils import datetime_to_string
from sticky_pi_api.validation.queries import Series


def chunks(keys: Iterable[Key], most: int) -> Iterator[list[Key]]:
    """Yield the keys in lists of at most `most`, each once; leave out those that no server can hold."""
    # Servers know whole seconds only.
    wanted = iter(dict.fromkeys(make_key(device, when) for device, when in keys if not when.microsecond))
    while chunk := list(islice(wanted, most)):
        yield chunk


def write_keys(keys: Iterable[Key]) -> list[dict[str, str]]:
    """Return keys as the entries of a request."""
    return [{"device": device, "datetime": datetime_to_string(when)} for device, when in keys]


def write_series(series: Series) -> list[dict[str, str]]:
    """Return a series as the one entry of a request."""
    device, start, end = series
    bounds = {"start_datetime": start, "end_datetime": end}
    return [{"device": device, **{name: datetime_to_string(next_second(when)) for name, when in bounds.items()}}]
