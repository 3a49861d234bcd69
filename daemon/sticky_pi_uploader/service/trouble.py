"""Record the lasting troubles of the running service for `status` and `check`.

They are in a file in the unit's runtime directory, which can be written even if the state folder can't, and is empty
after each boot. Without systemd there is no such directory, and the service only logs its troubles.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from enum import StrEnum
from typing import Any, Final, NamedTuple

from sticky_pi_api.filesystem.safe_open import open_file

from ..state_dir.privileges import BOOTED

_FOLDER: Final = "/run/sticky-pi-uploader"
"""The unit's runtime directory, where commands look"""

_NAME: Final = "trouble.json"

_LONGEST: Final = 1 << 20  # bytes


class Advice(StrEnum):
    """How to end a trouble.

    The file has only the name: root may paste commands from the text, so it mustn't come from the service.
    """

    MEND_CONFIG = "mend that, see with `sudo sticky-pi-uploader check` that it is right, and reload the service again"
    MEND_FILE = (
        "write the right password to its file, which is read again within a minute; "
        "after a change of [api] username, `sudo systemctl reload sticky-pi-uploader`"
    )
    MEND_CREDENTIAL = (
        "correct the password in /etc/credstore or [api] username, then `sudo systemctl restart sticky-pi-uploader`: "
        "systemd hands on another password only at a start"
    )
    MEND_ENVIRONMENT = (
        "correct SPI_API_PASSWORD or [api] username, then "
        "`sudo systemctl daemon-reload && sudo systemctl restart sticky-pi-uploader`"
    )
    CHECK_STATE = "check the disk and the permissions of the state folder: it is tried again by itself"
    LET_READ = "let everybody read it, as with `sudo chmod a+rX`; if the card fails, copy it soon"
    MAKE_ROOM = 'see "Making room" in the README, or unset keep_days'
    WAIT = "once that is there, the service goes on by itself"
    NOTHING = "nothing: systemd starts the service anew"


class Trouble(NamedTuple):
    """A reason why the service can't do a part of its work."""

    what: str
    advice: Advice
    since: float = 0.0
    """Unix time; set when it is recorded"""


class TroubleFile:
    """The file of present troubles, which is written when they change."""

    def __init__(self, environ: Mapping[str, str] = os.environ, *, clock: Callable[[], float] = time.time) -> None:
        """Write to the directory that systemd names in `environ`; without it, write nothing."""
        folder = runtime_directory(environ)
        self._path = None if folder is None else os.path.join(folder, _NAME)
        self._clock = clock
        self._recorded: list[Trouble] | None = None

    def record(self, state_dir: str, found: Sequence[Trouble]) -> None:
        """Replace the recorded troubles of the service for `state_dir`; a trouble that lasts keeps its time."""
        since = {each.what: each.since for each in self._recorded or ()}
        troubles = [each._replace(since=since.get(each.what, self._clock())) for each in found]
        if self._path is None or troubles == self._recorded:
            return
        self._recorded = troubles
        import json

        text = json.dumps(
            {"state_dir": state_dir, "trouble": [each._asdict() | {"advice": each.advice.name} for each in troubles]}
        )
        # The log has them as well, so a lack of space must not end the service.
        with suppress(OSError):
            beside = f"{self._path}.new"
            with open(open_file(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "w", encoding="ascii") as file:
                file.write(text)
            os.replace(beside, self._path)


def read_trouble(state_dir: str | None = None, environ: Mapping[str, str] = os.environ) -> list[Trouble]:
    """Return the troubles of the service for `state_dir` (None: for any); none if it is stopped or unknown."""
    import json

    folder = runtime_directory(environ) or _FOLDER
    try:
        with open(open_file(os.path.join(folder, _NAME)), encoding="ascii") as file:
            found = json.loads(file.read(_LONGEST))
        if state_dir is not None and os.path.realpath(found["state_dir"]) != os.path.realpath(state_dir):
            return []
        troubles = [_trouble(**each) for each in found["trouble"]]
    except (OSError, LookupError, TypeError, ValueError, RecursionError):
        return []
    return [] if troubles and folder == _FOLDER and _is_stopped() else troubles


def _is_stopped() -> bool:
    """Return whether the service is stopped: if it was stopped before a restart, its troubles are still recorded."""
    if not os.path.isdir(BOOTED):
        return False
    from ..ownership.service_unit import SERVICE, show

    return show(SERVICE).get("ActiveState") == "inactive"


def _trouble(what: Any, advice: Any, since: Any) -> Trouble:
    return Trouble(str(what), Advice[advice], float(since))


def runtime_directory(environ: Mapping[str, str]) -> str | None:
    """Return the runtime directory that systemd gave this process; None without one."""
    return environ.get("RUNTIME_DIRECTORY", "").partition(":")[0] or None
