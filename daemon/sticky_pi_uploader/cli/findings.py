"""What a look at a trap can find: each thing with how bad it is, and how to mend it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from .terminal import safe


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


class Finding(NamedTuple):
    """One thing that was looked at."""

    about: str
    level: Level
    what: str
    advice: str | None = None
    """how to mend it, in the words of somebody who does"""


def ok(about: str, what: str) -> Finding:
    """Find that something is as it should be."""
    return Finding(about, Level.OK, what)


def warning(about: str, what: str, advice: str) -> Finding:
    """Find something that works, though not as well as it could."""
    return Finding(about, Level.WARNING, what, advice)


def problem(about: str, what: str, advice: str | None = None) -> Finding:
    """Find something that keeps pictures from being taken in or sent."""
    return Finding(about, Level.PROBLEM, what, advice)


def data(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """Give the findings as JSON can hold them."""
    return [finding._asdict() for finding in findings]


def lines(findings: Sequence[Finding]) -> Iterator[str]:
    """Yield the findings for people: the sum first, then each with its advice below it."""
    yield _sum(findings)
    yield ""
    width = max((len(finding.about) for finding in findings), default=0)
    for finding in findings:
        yield safe(f"  {finding.level:<8} {finding.about:<{width}}  {finding.what}")
        if finding.advice:
            yield safe(f"  {'':<8} {'':<{width}}  -> {finding.advice}")


def _sum(findings: Sequence[Finding]) -> str:
    levels = [finding.level for finding in findings]
    problems, warnings = levels.count(Level.PROBLEM), levels.count(Level.WARNING)
    counts = [_count(problems, "problem")] if problems else []
    counts += [_count(warnings, "warning")] if warnings else []
    return f"{' and '.join(counts)}:" if problems else f"All is well{', with ' if counts else ''}{''.join(counts)}."


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
