"""Read and check the answers of a server of either generation: rows, tokens and receipts."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from sticky_pi_api.types import Row
from sticky_pi_api.utils import string_to_datetime

_MD5: Final = re.compile(r"[0-9a-f]{32}")


class WrongShapeError(ValueError):
    """The answer isn't one of a Sticky Pi API; the message says what is wrong with it."""


def read_rows(body: bytes) -> list[Row]:
    """Return the rows of an answer, their datetimes naive in UTC. Raises WrongShapeError."""
    return [_read_row(row) for row in read_list(body)]


def read_numbered_rows(body: bytes) -> list[Row]:
    """Return the rows of an answer as `read_rows` does, each with its `id`. Raises WrongShapeError."""
    rows = read_rows(body)
    if not all(isinstance(row.get("id"), int) for row in rows):
        raise WrongShapeError("with images that have no id")
    return rows


def read_annotations(body: bytes) -> list[Row]:
    """Return the annotations' rows of an answer; `json` is text, and may be empty. Raises WrongShapeError."""
    rows = read_list(body)
    for row in rows:
        if not (isinstance(row.get("parent_image_id"), int) and _has_texts(row, "algo_name", "algo_version")):
            raise WrongShapeError("with annotations that have no parent_image_id, algo_name or algo_version")
    return [_with_datetime_created({**row, "json": row.get("json") or ""}) for row in rows]


def read_users(body: bytes) -> list[Row]:
    """Return the users' rows of an answer, without passwords and tokens. Raises WrongShapeError."""
    rows = read_list(body)
    if not all(_has_texts(row, "username") for row in rows):
        raise WrongShapeError("with users that have no username")
    if not all(isinstance(row.get("email"), str | None) for row in rows):
        raise WrongShapeError("with users whose email isn't text")
    return [_read_user(row) for row in rows]


def read_list(body: bytes) -> list[Row]:
    """Return the rows of an answer as they are. Raises WrongShapeError."""
    answer = _read_json(body)
    if not isinstance(answer, list) or not all(isinstance(row, dict) for row in answer):
        raise WrongShapeError("without a list of rows")
    return answer


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


def _read_row(row: Row) -> Row:
    if not _has_texts(row, "device", "datetime", "md5"):
        raise WrongShapeError("with rows that have no device, datetime or md5")
    read = {**row, "md5": row["md5"].lower()}
    if _MD5.fullmatch(read["md5"]) is None:
        raise WrongShapeError("with an md5 that isn't 32 hexadecimal digits")
    try:
        read["datetime"] = string_to_datetime(row["datetime"])
    except ValueError:
        raise WrongShapeError("with a datetime in neither known form") from None
    return _with_datetime_created(read)


def _read_user(row: Row) -> Row:
    read = {name: value for name, value in row.items() if "password" not in name and "token" not in name}
    for name in read.keys() & {"is_admin", "can_write"}:
        read[name] = None if read[name] is None else bool(read[name])
    return _with_datetime_created(read)


def _with_datetime_created(row: Row) -> Row:
    # Only people read it: a value in an unknown form stays as it is.
    with suppress(ValueError):
        row["datetime_created"] = string_to_datetime(row.get("datetime_created", ""))
    return row


def _has_texts(row: Row, *names: str) -> bool:
    return all(isinstance(row.get(name), str) for name in names)
