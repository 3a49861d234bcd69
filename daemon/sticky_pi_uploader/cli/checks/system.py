"""Check the clock, and report whether systemd's library is there."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

from ...clock import PLATFORM_START, is_synchronised
from ...config import Config
from ...exceptions import StateError
from ...outbox import OutboxReader
from ...ownership.viewpoint import Viewpoint
from ...service.trouble import read_trouble
from ..state_reader import consistently, open_state
from .finding import Finding, ok, problem, warning

_DAY: Final = 86400.0
_SET_CLOCK: Final = "set it (sudo date -u -s '2022-05-17 18:34'), and keep it with a clock chip or a time server"


def clock(config: Config, _: Viewpoint) -> Iterator[Finding]:
    """Check that the clock is set."""
    about, now = "clock", time.time()
    said = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now))
    latest = _last_upload(config)
    if now < PLATFORM_START:
        yield problem(about, f"it says {said}: it isn't set", _SET_CLOCK)
    elif latest is not None and now < latest - _DAY:
        yield problem(about, f"it says {said}, but a picture was sent later than that", _SET_CLOCK)
    elif is_synchronised() is False:
        yield warning(about, f"it says {said}, and hasn't been compared with a time server", "see that it is right")
    else:
        yield ok(about, f"it says {said}")


def systemd(_: Config, __: Viewpoint) -> Iterator[Finding]:
    """Report whether systemd-python is installed."""
    from importlib.util import find_spec

    there = find_spec("systemd") is not None
    yield ok("systemd", "systemd-python is there" if there else "without systemd-python (works the same)")


def service(config: Config, _: Viewpoint) -> Iterator[Finding]:
    """Report the trouble of the running service, which may have other rights and another configuration."""
    for trouble in read_trouble(config.state_dir):
        yield problem("service", trouble.what, trouble.advice)


def _last_upload(config: Config) -> float | None:
    try:
        with open_state(config.state_dir, lambda _: None) as state:
            return None if state.outbox is None else consistently(state.outbox, OutboxReader.last_upload)
    except StateError:
        return None
