"""What can go wrong on the way, and which requests it happens to."""

from collections import Counter
from dataclasses import dataclass
from random import Random

KINDS = {
    "reset": "both connections are reset at byte `at` of the request (up) or answer (down)",
    "stall": "nothing moves in that direction from byte `at` on, for `seconds`, or for ever",
    "drip": "from byte `at` on, one byte moves each `seconds` (1 unless given)",
    "lose_answer": "the request goes through whole, and the connection is closed in place of the answer",
    "silence": "the request is swallowed, and never answered",
    "replace": "`status`, `headers` and `body` are answered; the server sees the request only with `forward`",
    "hang_up": "the connection is closed after the answer, which doesn't say so",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong; `KINDS` says what each kind does with which fields."""

    kind: str
    direction: str = "up"
    at: int = 0
    """bytes from the beginning of the request's or answer's head; a fault beyond the end never strikes"""
    seconds: float | None = None
    status: int = 502
    headers: tuple[tuple[str, str], ...] = ()
    body: str = ""
    forward: bool = False

    def __post_init__(self):
        """Refuse what there is not."""
        if self.kind not in KINDS or self.direction not in ("up", "down"):
            raise ValueError(f"there is no {self.kind!r} that goes {self.direction}")


@dataclass(frozen=True, slots=True)
class Rule:
    """To which requests faults happen: to every `every`th after `skip`, until they have `times`.

    `path` is how their path begins. `per` is `request`, or `connection` to count connections instead, each at its first
    such request. Of several faults one is drawn.
    """

    faults: tuple[Fault, ...]
    every: int = 1
    skip: int = 0
    times: int | None = None
    path: str = ""
    per: str = "request"

    def __post_init__(self):
        """Refuse what there is not."""
        if self.per not in ("request", "connection"):
            raise ValueError(f"there is no counting per {self.per!r}")

    @classmethod
    def from_json(cls, values):
        """Return the rule that `dataclasses.asdict` and JSON made `values` of."""
        return cls(**{**values, "faults": tuple(Fault(**fault) for fault in values["faults"])})


class Plan:
    """The rules in force, and how far they are; the first one that strikes a request has it."""

    def __init__(self, rules, seed):
        """Begin to count."""
        self._rules = rules
        self._random = Random(seed)
        self._seen = Counter()
        self._struck = Counter()

    def fault_for(self, path, counted):
        """Return what happens to a request, or None; `counted` has the rules that counted its connection already."""
        striking = [number for number, rule in enumerate(self._rules) if self._strikes(number, rule, path, counted)]
        if not striking:
            return None
        self._struck[striking[0]] += 1
        return self._random.choice(self._rules[striking[0]].faults)

    def _strikes(self, number, rule, path, counted):
        if not path.startswith(rule.path) or number in counted:
            return False
        if rule.per == "connection":
            counted.add(number)
        self._seen[number] += 1
        nth = self._seen[number] - rule.skip
        return nth > 0 and nth % rule.every == 0 and (rule.times is None or self._struck[number] < rule.times)
