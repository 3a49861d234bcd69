"""What is to be known of the trap's clock, which may be years off and be set at any moment."""

from __future__ import annotations

import os
from typing import Final

PLATFORM_START: Final = 1_572_566_400.0
"""2019-11-01, as Unix time: no picture of the platform is older, so that an earlier clock is not set"""

_TIMESYNC: Final = "/run/systemd/timesync"


def is_synchronised(folder: str = _TIMESYNC) -> bool | None:
    """Tell whether a time server has set the clock since the boot, as systemd-timesyncd says in its `folder`.

    None where that isn't at work: another program may set the clock, or nobody.
    """
    if not os.path.isdir(folder):
        return None
    return os.path.exists(os.path.join(folder, "synchronized"))
