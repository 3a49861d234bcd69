"""Reads multipart/form-data, and takes nothing that isn't exactly that."""

import re
from dataclasses import dataclass

_TYPE = re.compile(r'multipart/form-data;\s*boundary=(?:"([^"]{1,70})"|([!#-\'*+.0-9A-Z^-z|~-]{1,70}))', re.IGNORECASE)
_DISPOSITION = re.compile(
    r'^Content-Disposition:\s*form-data;\s*name="([^"]*)"(?:;\s*filename="([^"]*)")?\s*$', re.IGNORECASE | re.MULTILINE
)


class MultipartError(ValueError):
    """The body isn't what its type says."""


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a form; `filename` is None for a plain field."""

    name: str
    filename: str | None
    content: bytes


def read_parts(content_type, body):
    """Return the parts of a whole body.

    Raises MultipartError.
    """
    delimiter = b"\r\n--" + _boundary(content_type)
    # The first delimiter has no line before it to end.
    before, *pieces = (b"\r\n" + body).split(delimiter)
    if before or not pieces or pieces.pop() not in (b"--", b"--\r\n"):
        raise MultipartError("the boundaries don't enclose the parts")
    return [_part(piece) for piece in pieces]


def read_parts_so_far(content_type, body):
    """Return the parts of a body that broke off, the last one as far as it came; [] if not even a part's head did."""
    try:
        return read_parts(content_type, body + b"\r\n--" + _boundary(content_type) + b"--")
    except MultipartError:
        return []


def _boundary(content_type):
    match = _TYPE.fullmatch(content_type)
    if not match:
        raise MultipartError(f"{content_type!r} names no boundary")
    return (match[1] or match[2]).encode("ascii")


def _part(piece):
    head, blank, content = piece.partition(b"\r\n\r\n")
    match = _DISPOSITION.search(head.decode("utf-8", "replace").replace("\r\n", "\n"))
    if not head.startswith(b"\r\n") or not blank or not match:
        raise MultipartError("a part has no name")
    return Part(match[1], match[2], content)
