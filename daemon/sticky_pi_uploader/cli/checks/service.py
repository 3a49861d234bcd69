"""Report with whose rights the rest is looked at, and check the service's units."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from glob import glob
from shlex import join, quote
from typing import Final

from ...config import Config
from ...ownership.service_unit import ROUND, SERVICE, TIMER, ServiceUnit, is_in_use, read_unit, restart, show
from ...ownership.viewpoint import Viewpoint
from ...state_dir.privileges import was_root
from ...state_dir.trusted_path import describe_user
from .finding import Finding, ok, problem, unknown

_UNITS: Final = "/etc/systemd/system"
_COPY: Final = ("sudo", "install", "-D", "-m", "644", "-t")
_NEEDED: Final = (
    *("User", "Environment", "EnvironmentFile", "AmbientCapabilities", "CapabilityBoundingSet"),
    *("LoadCredential", "LoadCredentialEncrypted", "SetCredential", "SetCredentialEncrypted"),
)
"""Settings whose values in the service's unit the round needs as well; other differences may be wanted"""


def rights(view: Viewpoint) -> Iterator[Finding]:
    """Report with whose rights the rest is looked at."""
    about, user = "seen as", describe_user(os.geteuid())
    if view.is_outsider:
        if view.note is not None:
            yield problem("service", view.note, "look into the log: sudo journalctl -b -p warning")
        what = f"{user}, without the service's rights: pictures, state folder and destination aren't looked at"
        yield unknown(about, what, None if view.note else "sudo sticky-pi-uploader check")
    elif view.unit is not None:
        yield ok(about, f"{user}, with the credentials and limits of {view.unit.name}")
    else:
        whose = ", whose state folder it is" if was_root() else ""
        yield ok(about, f"{user}{whose}" + (f"; {view.note}" if view.note else ""))


def units(_: Config, view: Viewpoint) -> Iterator[Finding]:
    """Check that systemd has read the unit's files, and that the timer's round has the same rights as the service."""
    unit = view.unit
    if unit is None:
        return
    if show(unit.name).get("NeedDaemonReload") == "yes":
        what = f"systemd hasn't read the files of {unit.name} again since they changed"
        yield problem("unit", what, restart(unit.name))
    for path in unit.outside:
        what = f"{path} has lines above its first [Service] line, which systemd ignores"
        advice = f"write [Service] above them: sudo nano {quote(path)}, then {restart(unit.name)}"
        yield problem("unit", what, advice)
    if unit.name == SERVICE and is_in_use(TIMER) and (other := read_unit(ROUND)) is not None:
        yield from difference(unit, other)


def difference(unit: ServiceUnit, other: ServiceUnit, folder: str = _UNITS) -> Iterator[Finding]:
    """Find the settings that a command needs, and that the round's unit, `other`, lacks or restricts."""
    missing = [name for name in _NEEDED if not _values(unit, name) <= _values(other, name)]
    places = (word.lstrip("-+") for word in _values(unit, "ReadWritePaths"))
    if not all(other.lets_in(place) for place in places if place.startswith("/")):
        missing.append("ReadWritePaths")
    missing += [name for name in ("ProtectHome", "PrivateUsers") if _is_off(unit, name) and not _is_off(other, name)]
    if not missing:
        return
    what = f"{other.name} doesn't have the service's {', '.join(missing)}: its own drop-in is missing"
    there, advice = f"{folder}/{other.name}.d", "sudo systemctl daemon-reload"
    files = [file for file in sorted(glob(f"{folder}/{unit.name}.d/*.conf")) if _names(file) & {*missing}]
    if files and not any(os.path.lexists(f"{there}/{os.path.basename(file)}") or _starts(file) for file in files):
        advice = f"{join([*_COPY, there, *files])} && {advice}"
    else:
        advice = f"put the same lines below [Service] in a drop-in of its own in {there}, then: {advice}"
    yield problem("timer", what, advice)


def _values(unit: ServiceUnit, name: str) -> set[str]:
    if name == "Environment":
        return {f"{name}={value}" for name, value in unit.environment.items()}
    if name == "User":
        return {unit.user}
    return {word for value in unit.values(name) for word in value.split()}


def _is_off(unit: ServiceUnit, name: str) -> bool:
    return (unit.values(name) or ["no"])[-1].lower() in {"no", "false", "0", "off"}


def _names(file: str) -> set[str]:
    """Return the names of the settings in a drop-in; none where it can't be read."""
    with suppress(OSError), open(file, encoding="utf-8", errors="replace") as lines:
        return {line.partition("=")[0].strip() for line in lines}
    return set()


def _starts(file: str) -> bool:
    """Return whether a drop-in says how the service starts, which isn't for the round."""
    return any(name.startswith(("Exec", "Type", "Restart")) for name in _names(file))
