"""Whose a request is: names and passwords that show themselves as asterisks, wherever they are printed or logged."""

from __future__ import annotations

from base64 import b64encode
from typing import Final, NamedTuple, Self

MASK: Final = "********"


class Secret:
    """A text that isn't shown."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        """Wrap `value`."""
        self._value = value

    @classmethod
    def of(cls, value: str | Secret) -> Secret:
        """Wrap `value`, unless it is wrapped already."""
        return value if isinstance(value, Secret) else cls(value)

    def reveal(self) -> str:
        """Return the text itself."""
        return self._value

    def __repr__(self) -> str:
        """Show asterisks, as many for every secret."""
        return MASK

    def __eq__(self, other: object) -> bool:
        """Compare the texts."""
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        """Agree with the comparison."""
        return hash(self._value)


class Account(NamedTuple):
    """What HTTP's Basic authentication takes: a user and a password, or a token in the user's place."""

    user: Secret
    password: Secret = Secret("")

    @classmethod
    def of(cls, user: str, password: str | Secret = "") -> Self:
        """Wrap both."""
        return cls(Secret(user), Secret.of(password))

    @property
    def header(self) -> bytes:
        """The header's value."""
        return b"Basic " + b64encode(f"{self.user.reveal()}:{self.password.reveal()}".encode())
