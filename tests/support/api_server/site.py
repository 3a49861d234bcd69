"""The whole installation: the front, the API behind it, and the state that it is in."""

import itertools
from pathlib import Path

from .accounts import Accounts
from .api import Api
from .bundles import Bundles
from .front import Front
from .ledger import Ledger
from .modes import Mode
from .store import Store
from .workers import Workers

LEDGER = "ledger.jsonl"
"""The ledger's name in the data folder"""


class Site:
    """One running server; its front reads the public attributes."""

    def __init__(self, options):
        """Start it."""
        self.options = options
        self.connection_numbers = itertools.count(1)
        self.mode = Mode()
        self.store = Store(options.data)
        self.bundles = Bundles(options.data)
        self.ledger = Ledger(Path(options.data) / LEDGER)
        self.workers = Workers(options)
        self._front = Front(self, options.host, options.port)
        self.port = self._front.server_address[1]
        self._accounts = Accounts(options)
        self.api = Api(
            options,
            self.store,
            self.bundles,
            self._accounts,
            options.object_url or f"http://{options.host}:{self.port}",
        )
        self._front.start()

    def obey(self, command):
        """Do what a test asks for: `{"mode": {…}}`, `{"expire_tokens": true}`, `{"reset": true}`, or so.

        `{"restart_database": 2.5}` has the database away for that many seconds.
        """
        if "mode" in command:
            self._enter(Mode(**command["mode"]))
        if command.get("expire_tokens"):
            self._accounts.expire_tokens()
        if "restart_database" in command:
            self.workers.restart_database(command["restart_database"])
        if command.get("reset"):
            self._reset()

    def _reset(self):
        self._enter(Mode())
        self._accounts.expire_tokens()
        self.store.clear()
        self.bundles.clear()
        self.ledger.clear()

    def _enter(self, mode):
        was_down, self.mode = self.mode.name == "down", mode
        if mode.name == "down" and not was_down:
            self._front.close()
        elif was_down and mode.name != "down":
            self._front = Front(self, self.options.host, self.port)
            self._front.start()
