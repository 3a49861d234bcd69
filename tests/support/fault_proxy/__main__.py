"""Runs the proxy with the settings of the first argument (JSON) until its standard input ends.

Each line there is `{"settings": {…}}` to change them, or `{}`; either is answered by the counts.
"""

import asyncio
import json
import sys

from own_process import say

from .proxy import Proxy, Settings


async def _obey(proxy):
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        command = json.loads(line)
        if "settings" in command:
            proxy.apply(Settings.from_json(command["settings"]))
        say(proxy.counts)


async def _main():
    proxy = Proxy(Settings.from_json(json.loads(sys.argv[1])))
    async with asyncio.TaskGroup() as group:
        accepting = group.create_task(proxy.accept())
        say({"port": proxy.port})
        await _obey(proxy)
        accepting.cancel()


asyncio.run(_main())
