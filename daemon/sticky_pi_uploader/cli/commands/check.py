"""`check`: look at everything that a trap needs, from the configuration to the destination, and say how to mend it.

It changes nothing: the files that it writes to try the state folder and the store are removed at once.
"""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from ...config import CONFIG_FLAG, Config, understand
from ...exceptions import ConfigError, StateError
from ...ownership.run_as_owner import work_as_owner
from ..checks import destination, folders, system
from ..checks.finding import Finding, Level, lines, ok, problem
from ..checks.lost_and_found import lost_and_found
from ..formatting import add_json_flag, to_json
from ..terminal import print_lines

_CONFIGURATION: Final = "configuration"

_CHECKS: Final[tuple[Callable[[Config], Iterator[Finding]], ...]] = (
    destination.retention,
    folders.image_folder,
    folders.state_folder,
    folders.outbox,
    folders.free_space,
    system.clock,
    destination.credentials,
    destination.proxy,
    destination.answer,
    destination.last_sending,
    folders.watching,
    system.systemd,
    system.service,
)


def add_arguments(parser: ArgumentParser) -> None:
    """Add `--json`."""
    add_json_flag(parser)


def run(arguments: Namespace) -> int:
    """Print the findings."""
    flags = vars(arguments)
    found = look(flags, os.environ, flags.get(CONFIG_FLAG))
    print_lines([to_json([finding._asdict() for finding in found])] if arguments.json else lines(found))
    return exit_status(found)


def look(flags: Mapping[str, str | None], environ: Mapping[str, str], config_file: str | None) -> list[Finding]:
    """Run every check; the rest of a wrong configuration is checked with defaults in the place of wrong values."""
    config, problems = understand(flags, environ, config_file, check_secrets=True)
    found = [problem(_CONFIGURATION, line) for line in problems]
    if not problems:
        found.append(ok(_CONFIGURATION, config.file or "no file: flags, environment and defaults"))
    found += lost_and_found(config)
    try:
        work_as_owner(config.state_dir, config.image_dir, sends=True)
    except StateError as error:
        return [*found, problem("state folder", str(error), "name a folder that only root or the service can replace")]
    return [*found, *(finding for check in _CHECKS for finding in check(config))]


def exit_status(findings: Sequence[Finding]) -> int:
    """Return 0 where nothing is wrong, 78 for a wrong configuration, 1 for any other problem."""
    wrong = {finding.about for finding in findings if finding.level is Level.PROBLEM}
    if _CONFIGURATION in wrong:
        return ConfigError.exit_status
    return 1 if wrong else 0
