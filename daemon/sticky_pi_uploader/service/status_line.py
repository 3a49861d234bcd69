"""The status line of the service: how many pictures wait to be sent, and how the destination is."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

from ..models import Destination, DestinationState, State
from ..wording import counted

SAYINGS: Final = {
    DestinationState.OK: "takes pictures",
    DestinationState.UNREACHABLE: "is unreachable",
    DestinationState.UNAUTHORIZED: "doesn't accept the account",
    DestinationState.NOT_AN_API: "isn't a Sticky Pi API",
    DestinationState.REFUSING: "takes no pictures",
    DestinationState.UNKNOWN: "hasn't taken a picture yet",
}
"""The words for each state of a destination, after its address."""


def status_line(
    counts: Mapping[State, int], to_look_at: int, destination: Destination, problem: str | None = None
) -> str:
    """Describe the pictures in each state and the destination, after a `problem` of the service itself.

    `to_look_at` is the number of pictures that need attention.
    """
    waiting = counts[State.PENDING] + counts[State.UPLOADING]
    parts = [problem] if problem else []
    parts.append(f"{counted(waiting, 'picture') if waiting else 'no pictures'} waiting")
    if to_look_at:
        parts.append(f"{to_look_at} to be looked at")
    parts.append(f"{destination.url} {SAYINGS[destination.state]}")
    if destination.retry_at is not None:
        parts[-1] += f", tried again at {time.strftime('%H:%M', time.gmtime(destination.retry_at))} UTC"
    return "; ".join(parts)
