"""The states that a whole destination can be in; the tests switch them while the server runs."""

from dataclasses import dataclass
from typing import Any

from .wire import HTML, UNAUTHORISED, Answer, json_answer, page

_PORTAL = b"<!doctype html>\n<html><title>Welcome</title><p>Please accept the terms of this network.</html>"


@dataclass(frozen=True, slots=True)
class Mode:
    """A state by its name; the other fields belong to one of them each, except `paths`."""

    name: str = "ok"
    """ok; down (connections are refused, and those that are open closed); unauthorised; refuse_uploads (as with full
    storage); not_an_api (a page with status 200); redirect; wrong_json; maintenance (503); status (any)"""
    paths: tuple[str, ...] = ()
    """beginnings of the paths that it is for; none for all"""
    status: int = 302
    """how to `redirect`, or what `status` answers"""
    location: str = "http://elsewhere.invalid/"
    """where to `redirect`"""
    above: int = -1
    """bytes of a body: `status` is for those with more"""
    early: bool = False
    """whether `status` is answered before the body is read"""
    reset: bool = False
    """whether the connection is reset with that early answer"""
    json: Any = None
    """what `wrong_json` answers"""
    retry_after: str | None = None
    """the header of `maintenance`"""

    def __post_init__(self):
        """Refuse a name that is none."""
        if self.name not in (*_INSTEAD, "ok", "down", "refuse_uploads"):
            raise ValueError(f"there is no mode {self.name!r}")

    def is_for(self, path):
        """Return whether requests of a path are affected."""
        return not self.paths or path.startswith(tuple(self.paths))

    def instead(self, path, length=0):
        """Return what is answered before anything looks at the request; None when something does."""
        affected = self.name in _INSTEAD and self.is_for(path) and length > self.above
        return _INSTEAD[self.name](self) if affected else None

    def early_answer(self, path, length):
        """Return what is answered before the body of `length` bytes is read; None where it is read."""
        return self.instead(path, length) if self.early else None


def _maintenance(mode):
    return page(503, *([("Retry-After", mode.retry_after)] if mode.retry_after is not None else []))


_INSTEAD = {
    "unauthorised": lambda _: UNAUTHORISED,
    "not_an_api": lambda _: Answer(200, _PORTAL, HTML),
    "redirect": lambda mode: page(mode.status, ("Location", mode.location)),
    "wrong_json": lambda mode: json_answer(mode.json),
    "maintenance": _maintenance,
    "status": lambda mode: page(mode.status),
}
