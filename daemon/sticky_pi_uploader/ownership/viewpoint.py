"""Find whose rights a command works with: the service's, the caller's, or fewer than the service's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from ..config import CONFIG_FLAG, Config, load
from ..config.schema import FLAGS, SCHEMA
from ..state_dir.privileges import in_service_unit
from .service_unit import ServiceUnit, find_unit

_PLACES: Final = (CONFIG_FLAG, "image_dir", "state_dir", "api.password_file")
"""Flags by which another trap than the service's may be meant, or a file that the service may not read"""


class Viewpoint(NamedTuple):
    """The rights, credentials and limits of a process, compared with the service's."""

    unit: ServiceUnit | None = None
    """the service's; None where these rights count: there is no service, or another trap than its own is meant"""
    is_outsider: bool = False
    """whether an action that fails here may work for the service"""
    note: str | None = None
    """why these aren't the service's rights"""

    @property
    def service(self) -> ServiceUnit | None:
        """The unit, if an action that fails here fails for the service as well."""
        return None if self.is_outsider else self.unit

    @property
    def whose(self) -> str:
        """The user for messages about rights."""
        return "this user" if self.service is None else f"the service (user {self.service.user})"


def find_viewpoint(flags: Mapping[str, str | None], environ: Mapping[str, str]) -> Viewpoint:
    """Return with whose rights this process works, with the configuration flags of its command line."""
    unit = find_unit()
    if unit is None or in_service_unit():
        return Viewpoint(unit)
    other = another_trap(unit, flags, environ)
    return Viewpoint(unit, is_outsider=True) if other is None else Viewpoint(note=other)


def another_trap(unit: ServiceUnit, flags: Mapping[str, str | None], environ: Mapping[str, str]) -> str | None:
    """Return which flags and variables mean another trap than the service's; None where there are none."""
    places = {name: value for name in _PLACES if (value := flags.get(name)) is not None}
    variables = {name: environ[name] for key in SCHEMA for name in key.environment if environ.get(name)}
    if service_config(unit, {})[0] == service_config(unit, places, variables)[0]:
        return None
    given = [*(FLAGS[name] for name in places), *variables]
    return f"{' and '.join(given)} {'are' if given[1:] else 'is'} not the service's"


def service_config(
    unit: ServiceUnit, flags: Mapping[str, str | None], environ: Mapping[str, str] | None = None
) -> tuple[Config, list[str]]:
    """Return the configuration that the service has, with further flags and variables, and its problems."""
    given, problems = {**unit.flags, **flags}, list[str]()
    variables = {**unit.environment, **(environ or {})}
    config = load(given, variables, given.get(CONFIG_FLAG), problems=problems)
    return config._replace(flags=()), problems
