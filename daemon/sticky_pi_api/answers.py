"""Reads what a server answers with: rows, tokens and receipts, of both generations, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from sticky_pi_api.types import Row
from sticky_pi_api.utils import string_to_datetime


class WrongShapeError(ValueError):
    """The answer isn't what a Sticky Pi API gives; the message says what is wrong with it."""


def read_rows(body: bytes) -> list[Row]:
    """Return the rows of an answer, their datetimes naive in UTC. Raises WrongShapeError."""
    answer = _read_json(body)
    if not isinstance(answer, list):
        raise WrongShapeError("not with a list")
    return [_read_row(row) for row in answer]


def read_token(body: bytes) -> str:
    """Return the token of an answer. Raises WrongShapeError."""
    answer = _read_json(body)
    token = answer.get("token") if isinstance(answer, Mapping) else None
    if not isinstance(token, str) or not token or not token.isprintable():
        raise WrongShapeError("without a token")
    return token


def _read_json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        what = "a web page" if body.lstrip()[:1] == b"<" else "something that isn't JSON"
        raise WrongShapeError(f"with {what}: is there a login page or a proxy on the way?") from None


def _read_row(row: Any) -> Row:
    if not isinstance(row, dict) or not all(isinstance(row.get(name), str) for name in ("device", "datetime", "md5")):
        raise WrongShapeError("with rows that have no device, datetime or md5")
    read = {**row, "md5": row["md5"].lower()}
    try:
        read["datetime"] = string_to_datetime(row["datetime"])
    except ValueError:
        raise WrongShapeError("with a datetime in neither known form") from None
    # It is for people: what can't be read of it stays text.
    with suppress(ValueError):
        read["datetime_created"] = string_to_datetime(row.get("datetime_created", ""))
    return read
