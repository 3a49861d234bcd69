"""The kinds of events in the log, and the fields of their records in the journal.

`systemd/sticky-pi-uploader.catalog` has an entry for each kind: its meaning, and what people have to do.
"""

from __future__ import annotations

import logging
import os
from enum import Enum
from typing import Final

from sticky_pi_api.exceptions import printable

from ..models import Picture

log = logging.getLogger(__name__)


class Kind(Enum):
    """A kind of event, with its MESSAGE_ID, which never changes: people's filters and catalogs refer to it."""

    # A picture's life
    TAKEN_IN = "2052858212234b0db4733ba1b6cbd232"
    SUSPECT = "db17a18c7e234b9095c87fb76fb17e59"
    RENAMED = "475c83c2a61e4ee6bbd6521e22603395"
    READ_AGAIN = "1a780553c394465d9961669793669f95"
    UPLOADED = "f30e944f6e6440ad9c0d053f2b5b448e"
    HELD = "8e76b084a63c4b2d8cd2f5d3d75c9874"
    REFUSED = "1240e1d7eee3425f8f4e5a89f32d96de"
    DOUBTFUL = "81d7f8a459604a9697ac71b5fd8360ee"
    CONFLICT = "b2c893bfce93436bbe75a007a1106709"
    REJECTED = "0c16b308a9d24aaa8068cad837ddb99b"
    LOST = "71a836cc919849c3a5d041d79603946e"
    PUT_BACK = "836fb674d3bb4134bdd150401ce2e351"
    LEFT_OVER = "dd738fa4866842b2ba32d1349de943fc"
    REMOVED = "a65ff1c145ab4d5fbf57b437a4ba0160"
    MISSING = "7b53cd4399fa47f88e41c0de543e7125"
    OVERWRITTEN = "995b1b7282ab40f99226380a9a8db0c9"

    # The card and the state folder
    FILLING = "d488806ef19f4115a1c08e9cb684a443"
    NOT_REMOVED = "3f7bfc59d4674826be2815a451423087"
    AWAY = "4de0189ea4414c5bab6087325585af8f"
    BACK = "492cfd526b874682913bd80ffdff6dd9"
    UNREADABLE = "3361a6cae07c4e869a5cea00076e9c24"
    READABLE = "3d090278cee141d1aab6fb25f51f1c94"
    UNWATCHED = "d61c56860cbe4972b73ca60814f15cd7"
    WATCHED = "cc5fd6f12e764f6b92071b57226fc698"
    POLLING = "9427853f2d39460b9dde8357333caf67"
    UNLOCKED = "3919adc6740e491bbc898d739098ba94"
    DISPLACED = "9ea991856700449ea6e97730b6da1f68"
    DAMAGED = "3c90451ba77145c2a3dbc5819eef51bf"
    MISFIT = "588bbca9955b4404889014a39e1b12d0"
    GIVEN = "46346c9108e34fd6a4611f75d26570c7"
    NOT_GIVEN = "88cc54dc3b4741dbb153a044017ae0a7"
    CARRIED_OVER = "4b9323243e9240aa927a5e7e08403d7c"
    TROUBLE = "00c08dbaf377488ca8de4996cf7c7c3f"
    TROUBLE_OVER = "40f0d8d6b008464489e27800540b39ed"

    # The destination
    DESTINATION_TROUBLE = "f120bfcbbf954a8f96f2cf539bb2813f"
    DESTINATION_WORKS = "bc06ddbe45884f0e99283ea4215745dc"
    DESTINATION_CHANGED = "bc8eb4a41df84a5a94e1927723b4611c"
    HOLD = "2cca5851dfef4f74bf5180ce85bb8606"
    HOLD_OVER = "63fa2a169c604cc7be799e58c5bdaf81"
    HOURS_IGNORED = "e7dcdb2a0aa14fe38d32ea521a2277cc"

    # The service
    WAITING = "8e56a71796e5430e803ce1f6a48669fb"
    GAVE_UP_WAITING = "ace8552987424ccb9c8bc8dc88a8f231"
    STARTS_ANEW = "0a1d072787674c948bdc9d4aecf3b1c3"
    WATCHING = "2a7f5d16eb5444b89e9ec0524d459b54"
    RESUMED = "6550fe0c587b444a85d5c0c4815ed046"
    RELOADED = "0d2e44f575804becacdf2760d0fdd4d7"
    RELOAD_FAILED = "5dad9330a85649338f0b5967f0471f65"
    CLOCK_SET = "61625530cc2b4a44bc708f26c950c8a3"
    HANGING = "e71a06ea4a9d4fc58ac3963aabb5a521"
    STUCK = "033054d8ac4044ceb24b59d8d3fc390b"
    DIED = "8ffb4803cb9643e2b6e64fd526532e4e"
    CANNOT_GO_ON = "9265c42c811c4606bffe2d80e150d8d1"
    STOPPED = "5fcbaf2aa1fb475bbedbdb49bc5806e0"


_LEVELS: Final = {
    **dict.fromkeys((Kind.TAKEN_IN, Kind.RENAMED, Kind.READ_AGAIN, Kind.UPLOADED, Kind.HELD), logging.INFO),
    **dict.fromkeys((Kind.PUT_BACK, Kind.REMOVED, Kind.BACK, Kind.READABLE, Kind.WATCHED), logging.INFO),
    **dict.fromkeys((Kind.TROUBLE_OVER, Kind.DESTINATION_WORKS, Kind.DESTINATION_CHANGED), logging.INFO),
    **dict.fromkeys((Kind.GAVE_UP_WAITING, Kind.STARTS_ANEW, Kind.WATCHING, Kind.RESUMED), logging.INFO),
    **dict.fromkeys((Kind.HOLD, Kind.HOLD_OVER, Kind.RELOADED, Kind.CLOCK_SET, Kind.STOPPED), logging.INFO),
    **dict.fromkeys((Kind.FILLING, Kind.DAMAGED, Kind.TROUBLE, Kind.RELOAD_FAILED, Kind.CANNOT_GO_ON), logging.ERROR),
    **dict.fromkeys((Kind.STUCK, Kind.DIED), logging.CRITICAL),
}
"""The levels of the records; that of the other kinds is WARNING"""

_OF_PICTURE: Final = ("path", "device", "datetime", "md5", "state", "reason", "suspect")
"""The fields of a picture that its records have, beside the file's name"""


def log_event(
    kind: Kind, text: str, picture: Picture | None = None, *, error: BaseException | None = None, **more: object
) -> None:
    """Log an event with the fields of `about`; the path of the picture, if there is one, begins its text.

    The traceback of an `error` follows the text.
    """
    line = text if picture is None else f"{printable(picture.path)}: {text}"
    level = _LEVELS.get(kind, logging.WARNING)
    log.log(level, "%s", line, exc_info=error, extra=about(kind, picture, **more), stacklevel=2)


def about(kind: Kind, picture: Picture | None = None, **more: object) -> dict[str, str]:
    """Return logging's `extra` for a record of this kind, with the fields of the picture.

    Fields in `more` come in addition, or in place of the picture's own: `reason` becomes STICKY_PI_REASON. A field that
    is None is left out.
    """
    fields: dict[str, object] = {"event": kind.name.lower()}
    if picture is not None:
        fields |= {"image": os.path.basename(picture.path)} | {name: getattr(picture, name) for name in _OF_PICTURE}
    fields |= more
    known = {f"STICKY_PI_{name.upper()}": str(value) for name, value in fields.items() if value is not None}
    return {"MESSAGE_ID": kind.value, **known}
