"""Report with whose rights the rest is looked at, and check the service's units."""

from __future__ import annotations

import os
from collections.abc import Iterator
from shlex import quote

from ...config import Config
from ...ownership.service_unit import ROUND, SERVICE, TIMER, is_in_use, read_unit, restart, show
from ...ownership.viewpoint import Viewpoint
from ...state_dir.privileges import was_root
from ...state_dir.trusted_path import describe_user
from .finding import Finding, ok, problem, unknown


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
    """Check that systemd has read the unit's files, and that the timer's round may do what the service may."""
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
        missing = {line.partition("=")[0]: None for line in unit.for_commands if line not in other.for_commands}
        if missing:
            what = f"{ROUND} doesn't have the service's {', '.join(missing)}: its own drop-in is missing"
            folder = "/etc/systemd/system"
            copy = f"sudo install -D -m 644 -t {folder}/{ROUND}.d {folder}/{SERVICE}.d/*.conf"
            yield problem("timer", what, f"{copy} && sudo systemctl daemon-reload")
