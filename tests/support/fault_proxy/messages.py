"""As much of HTTP/1.1 as tells where requests and answers begin and end."""

import io
from dataclasses import dataclass
from email.message import Message
from http import HTTPStatus
from http.client import parse_headers

_CHUNK = 0x4000


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a request or answer, as it was received and as it is understood."""

    raw: bytes
    start: tuple[str, ...]
    headers: Message

    @property
    def path(self):
        """What a request is for."""
        return self.start[1]

    @property
    def is_interim(self):
        """Whether another answer follows this one."""
        return self.start[1].startswith("1")

    @property
    def body_length(self):
        """Bytes of the body; None where only its sender knows."""
        return None if "Transfer-Encoding" in self.headers else int(self.headers.get("Content-Length", "0"))


async def read_head(reader):
    """Read a head.

    Raises EOFError (asyncio.IncompleteReadError is one) where the sender ended the connection.
    """
    raw = await reader.readuntil(b"\r\n\r\n")
    start, _, rest = raw.partition(b"\r\n")
    return Head(raw, tuple(start.decode("latin-1").split(" ", 2)), parse_headers(io.BytesIO(rest)))


async def read_body(reader, length):
    """Yield a body piece by piece; without a length, everything up to the connection's end.

    Raises EOFError where a part of it is missing.
    """
    missing = length
    while missing is None or missing:
        piece = await reader.read(_CHUNK if missing is None else min(missing, _CHUNK))
        if not piece:
            if missing:
                raise EOFError("the body breaks off")
            return
        yield piece
        if missing is not None:
            missing -= len(piece)


def write_answer(status, headers, body):
    """Return an answer's bytes."""
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *(f"{name}: {value}" for name, value in headers)]
    encoded = body.encode()
    return "\r\n".join([*lines, f"Content-Length: {len(encoded)}", "", ""]).encode() + encoded
