"""A proxy for tests that lets TLS through by CONNECT, or refuses to, as the only way out of a firm's network.

What passes in its tunnels it doesn't look into. It runs in a process of its own, with its settings as the argument
(JSON); each line on its standard input is answered by the requests that it got so far.
"""

import asyncio
import json
import sys
from base64 import b64decode
from contextlib import suppress
from dataclasses import asdict, dataclass
from http import HTTPStatus

from own_process import OwnProcess, say

_BLOCK = 0x10000


@dataclass(frozen=True, slots=True)
class Settings:
    """What the proxy does."""

    account: str | None = None
    """name:password that it wants; None lets everybody through"""
    refuses: int | None = None
    """the status that everybody gets instead of a tunnel"""
    is_mute: bool = False
    """whether it never answers"""
    port: int = 0


@dataclass(frozen=True, slots=True)
class Request:
    """What it was asked for."""

    target: str
    account: str | None
    status: int | None
    """that it answered with"""


class ConnectProxy(OwnProcess):
    """The proxy as tests use it, running inside `with`; the settings are those of `Settings`.

    As it stops, its tunnels break off.
    """

    module = "connect_proxy"

    def __init__(self, **settings):
        """Keep the settings."""
        super().__init__(Settings(**settings))

    def url(self, account=""):
        """Return what HTTPS_PROXY is set to; `account` is name:password, as it is written in an address."""
        return f"http://{account}{'@' if account else ''}127.0.0.1:{self.port}"

    def requests(self):
        """Return what it was asked for so far."""
        return [Request(**request) for request in self.ask({})]


class _Proxy:
    def __init__(self, settings):
        self._settings = settings
        self.requests = []

    async def serve(self, reader, writer):
        """Serve one connection to its end."""
        with suppress(OSError, EOFError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            target, account = head[0].split(" ")[1], _account(head[1:])
            status = self._status(head[0], account)
            self.requests.append(asdict(Request(target, account, status)))
            if status is None:
                await reader.read()
            elif status != HTTPStatus.OK:
                writer.write(f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Length: 0\r\n\r\n".encode())
            else:
                await _tunnel(target, reader, writer)
        writer.close()

    def _status(self, start, account):
        if self._settings.is_mute:
            return None
        if not start.startswith("CONNECT "):
            return HTTPStatus.METHOD_NOT_ALLOWED
        if self._settings.account not in (None, account):
            return HTTPStatus.PROXY_AUTHENTICATION_REQUIRED
        return self._settings.refuses or HTTPStatus.OK


def _account(lines):
    for line in lines:
        name, _, value = line.partition(": ")
        if name.lower() == "proxy-authorization":
            return b64decode(value.removeprefix("Basic ")).decode()
    return None


async def _tunnel(target, reader, writer):
    host, port = target.rsplit(":", 1)
    far_reader, far_writer = await asyncio.open_connection(host, int(port))
    writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
    await asyncio.wait([asyncio.create_task(_pass(reader, far_writer)), asyncio.create_task(_pass(far_reader, writer))])


async def _pass(reader, writer):
    with suppress(OSError):
        while block := await reader.read(_BLOCK):
            writer.write(block)
            await writer.drain()
    writer.close()


async def _main():
    settings = Settings(**json.loads(sys.argv[1]))
    proxy = _Proxy(settings)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", settings.port)
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    say({"port": server.sockets[0].getsockname()[1]})
    while await commands.readline():
        say(proxy.requests)


if __name__ == "__main__":
    asyncio.run(_main())
