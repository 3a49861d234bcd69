"""A request as the front received it, and the answer that goes back."""

import json
from dataclasses import dataclass
from email.message import Message
from http import HTTPStatus

_KNOWN = frozenset(HTTPStatus)
JSON, HTML, TEXT = "application/json", "text/html; charset=utf-8", "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Request:
    """One request: its head, and as much of its body as arrived."""

    connection: int
    peer: str
    method: str
    path: str
    headers: Message
    body: bytes = b""
    whole: bool = True


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered, and what happens on the way."""

    status: int
    body: bytes
    content_type: str
    headers: tuple[tuple[str, str], ...] = ()
    delay: float = 0.0
    """seconds that the worker takes before the answer goes out"""
    kills_worker: bool = False


def json_answer(value):
    """Answer with a value."""
    return Answer(200, json.dumps(value).encode(), JSON)


def page(status, *headers):
    """Answer with a page that says no more than the status, as web frameworks make them."""
    title = f"{status} {HTTPStatus(status).phrase if status in _KNOWN else 'Unknown'}"
    return Answer(status, f"<!doctype html>\n<html><title>{title}</title>\n<h1>{title}</h1>".encode(), HTML, headers)


UNAUTHORISED = Answer(401, b"Unauthorized Access", TEXT, (("WWW-Authenticate", 'Basic realm="Authentication"'),))
REFUSED = page(500)
"""The answer to nearly everything that can be wrong; it says nothing"""
