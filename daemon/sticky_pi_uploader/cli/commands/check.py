"""`check`: look at everything that a trap needs, from the configuration to the destination, and say how to mend it.

It changes nothing: the files that it writes to try the state folder and the store are removed at once.
"""

from __future__ import annotations

import logging
import os
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from ...config import CONFIG_FLAG, DEFAULT_FILE, Config, load
from ...exceptions import ConfigError, StateError
from ...journal import events
from ...ownership.run_as_owner import work_as_owner
from ...ownership.viewpoint import Viewpoint, find_viewpoint, service_config
from ..checks import destination, folders, pictures, service, system
from ..checks.finding import Finding, Level, lines, ok, problem, unknown
from ..output.formatting import add_json_flag, to_json
from ..output.terminal import print_lines

_CONFIGURATION: Final = "configuration"

_CHECKS: Final[tuple[Callable[[Config, Viewpoint], Iterator[Finding]], ...]] = (
    service.units,
    folders.image_folder,
    pictures.readable,
    pictures.retention,
    folders.state_folder,
    folders.outbox,
    folders.free_space,
    system.clock,
    destination.credentials,
    destination.proxy,
    destination.answer,
    destination.last_sending,
    destination.hold,
    folders.watching,
    system.systemd,
    system.service,
)

_FOR_SERVICE: Final = frozenset(
    {pictures.readable, pictures.retention, folders.state_folder}
    | {destination.credentials, destination.proxy, destination.answer}
)
"""Checks that an outsider would fail, or pass, for other reasons than the service does"""


add_arguments = add_json_flag


def run(arguments: Namespace) -> int:
    """Print the findings."""
    flags = vars(arguments)
    # The findings say what can't be read; without a handler, the log's lines would go to stderr.
    events.log.addHandler(logging.NullHandler())
    found = look(flags, os.environ, flags.get(CONFIG_FLAG), getattr(arguments, "viewpoint", None))
    print_lines([to_json([finding._asdict() for finding in found])] if arguments.json else lines(found))
    return exit_status(found)


def look(
    flags: Mapping[str, str | None],
    environ: Mapping[str, str],
    config_file: str | None,
    viewpoint: Viewpoint | None = None,
) -> list[Finding]:
    """Run every check; the rest of a wrong configuration is checked with defaults in the place of wrong values."""
    view = viewpoint or find_viewpoint(flags, environ)
    if view.unit is not None and view.is_outsider:
        config, problems = service_config(view.unit, flags)
    else:
        problems = list[str]()
        config = load(flags, environ, config_file, check_secrets=True, problems=problems)
    file = config_file or (view.unit and view.unit.flags.get(CONFIG_FLAG)) or DEFAULT_FILE
    if view.unit is not None and os.path.exists(file) and not os.access(file, os.R_OK):
        what, advice = f"{file} can't be read by {view.whose}", f"sudo chmod 644 {file}"
        closed = unknown(_CONFIGURATION, what) if view.is_outsider else problem(_CONFIGURATION, what, advice)
        return [*service.rights(view), closed]  # anything else would be looked at with wrong values
    found = [problem(_CONFIGURATION, line) for line in problems]
    if not problems:
        found.append(ok(_CONFIGURATION, config.file or "no file: flags, environment and defaults"))
    found += pictures.lost_and_found(config, environ)
    try:
        work_as_owner(config.state_dir, config.image_dir, sends=True)
    except StateError as error:
        return [*found, problem("state folder", str(error), "name a folder that only root or the service can replace")]
    checks = [check for check in _CHECKS if not (view.is_outsider and check in _FOR_SERVICE)]
    return [*service.rights(view), *found, *(finding for check in checks for finding in check(config, view))]


def exit_status(findings: Sequence[Finding]) -> int:
    """Return 0 where nothing is wrong, 78 for a wrong configuration, 1 for any other problem."""
    wrong = {finding.about for finding in findings if finding.level is Level.PROBLEM}
    if _CONFIGURATION in wrong:
        return ConfigError.exit_status
    return 1 if wrong else 0
