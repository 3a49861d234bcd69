"""One result of a check, with its severity and advice, and how the results are shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import NamedTuple

from ...wording import counted
from ..output.terminal import safe


class Level(StrEnum):
    """The severity of a finding."""

    OK = "ok"
    UNKNOWN = "unknown"
    WARNING = "warning"
    PROBLEM = "problem"


class Finding(NamedTuple):
    """The result of one check."""

    about: str
    level: Level
    what: str
    advice: str | None = None
    """how to mend it, as a command or an instruction"""


def ok(about: str, what: str) -> Finding:
    """Report that something is as it should be."""
    return Finding(about, Level.OK, what)


def unknown(about: str, what: str, advice: str | None = None) -> Finding:
    """Report something that this user can't look at."""
    return Finding(about, Level.UNKNOWN, what, advice)


def warning(about: str, what: str, advice: str) -> Finding:
    """Report something that works, though not as well as it could."""
    return Finding(about, Level.WARNING, what, advice)


def problem(about: str, what: str, advice: str | None = None) -> Finding:
    """Report something that keeps pictures from being taken in or sent."""
    return Finding(about, Level.PROBLEM, what, advice)


def lines(findings: Sequence[Finding]) -> Iterator[str]:
    """Yield the findings for people: a summary first, then each finding with its advice below it."""
    yield _summary(findings)
    yield ""
    width = max((len(finding.about) for finding in findings), default=0)
    for finding in findings:
        yield safe(f"  {finding.level:<8} {finding.about:<{width}}  {finding.what}")
        if finding.advice:
            yield safe(f"  {'':<8} {'':<{width}}  -> {finding.advice}")


def _summary(findings: Sequence[Finding]) -> str:
    levels = [finding.level for finding in findings]
    counts = {noun: levels.count(noun) for noun in (Level.PROBLEM, Level.WARNING)}
    text = " and ".join(counted(count, noun) for noun, count in counts.items() if count)
    if counts[Level.PROBLEM]:
        return f"{text}:"
    if Level.UNKNOWN in levels:
        return f"{text or 'Nothing wrong is seen'}, but this user can't look at everything:"
    return f"All is well{', with ' if text else ''}{text}."
