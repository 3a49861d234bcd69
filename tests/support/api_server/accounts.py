"""Who may do what: HTTP Basic authentication by password or by a token that expires."""

import base64
import binascii
import secrets
import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody whom the server knows."""

    number: int
    name: str
    password: str
    may_write: bool


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a request says of who sends it; `kind` is none, token (no password beside it), password, or malformed."""

    kind: str
    user: str = ""
    password: str = ""


def read_credentials(header):
    """Return what an Authorization header holds; it may be None."""
    if header is None:
        return Credentials("none")
    scheme, _, encoded = header.partition(" ")
    try:
        user, colon, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return Credentials("malformed")
    if scheme.lower() != "basic" or not colon:
        return Credentials("malformed")
    return Credentials("password" if password else "token", user, password)


class Accounts:
    """The accounts, and the tokens handed out since the start."""

    def __init__(self, options):
        """Read the accounts from the options."""
        self._options = options
        named = [(text, True) for text in options.users.split(",")] + [
            (text, False) for text in options.readers.split(",")
        ]
        self._accounts = {}
        for number, (text, may_write) in enumerate(named, 1):
            name, _, password = text.partition(":")
            self._accounts[name] = Account(number, name, password, may_write)
        self._tokens = {}

    def by_token(self, credentials):
        """Return the account that a token was given to; None when it expired, or is none."""
        if credentials.kind != "token":
            return None
        account, expires = self._tokens.get(credentials.user, (None, 0.0))
        return account if time.monotonic() < expires else None

    def by_anything(self, credentials):
        """Return the account of a token or of a name and password."""
        account = self._accounts.get(credentials.user)
        if credentials.kind == "password" and account and account.password == credentials.password:
            return account
        return self.by_token(credentials)

    def new_token(self, account):
        """Return a token and when it expires, Unix seconds by the server's clock."""
        token = secrets.token_urlsafe(24)
        self._tokens[token] = account, time.monotonic() + self._options.token_life
        return {
            "token": token,
            "expiration": int(time.time() + self._options.clock_offset + self._options.token_life),
        }

    def expire_tokens(self):
        """Make every token that was handed out worthless."""
        self._tokens.clear()
