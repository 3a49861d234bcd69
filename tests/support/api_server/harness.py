"""The server as tests use it: started, steered and looked into."""

import hashlib
import sys
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

from own_process import OwnProcess

from .accounts import Account
from .bundles import Bundles
from .examine import examine
from .ledger import read_ledger
from .modes import Mode
from .options import Options, command_line
from .rows import new_row
from .site import LEDGER
from .store import Key, Store

_SOMEBODY = Account(number=99, name="another-trap", password="", may_write=True)
_UNKNOWN = {"width": 0, "height": 0}


class ApiServer(OwnProcess):
    """A server in a process of its own, running inside `with`; `options` are those of `Options`.

    The account `trap` with the password `pollen` may write, `guest` with the same one may not. Rows, objects and the
    ledger outlive a restart in the folder `data`; tokens and workers don't.
    """

    module = "api_server"

    def __init__(self, data, *, python=(sys.executable,), **options):
        """Keep the options; `python` starts Python."""
        super().__init__(Options(data=str(data), **options), python)
        self.data = data

    @property
    def host(self):
        """The address that it listens on."""
        return self._settings.host

    @property
    def url(self):
        """The address that clients are given."""
        return f"http://{self.host}:{self.port}"

    def _arguments(self):
        return command_line(self._settings)

    def set_mode(self, name="ok", **details):
        """Put the whole server into a state; the names and details are those of `modes.Mode`."""
        self.ask({"mode": asdict(Mode(name, **details))})

    def expire_tokens(self):
        """Make the tokens handed out so far worthless."""
        self.ask({"expire_tokens": True})

    def restart_database(self, seconds=0.0):
        """Let its database be away for so long, after which each worker fails at its first request."""
        self.ask({"restart_database": seconds})

    def reset(self):
        """Make it as new: without pictures, requests, tokens, and a bad state."""
        self.ask({"reset": True})

    def requests(self, path=""):
        """Return the ledger's entries, those whose path begins with `path`."""
        entries = read_ledger(Path(self.data) / LEDGER)
        return [entry for entry in entries if entry.path.startswith(path)]

    def sent_files(self):
        """Return every file of every upload, also of those that broke off."""
        return [file for entry in self.requests("/_put_new_images") for file in entry.files]

    def hold(self, name, blob):
        """Let it hold a picture under a file name; bytes that are no trap's picture are held as well."""
        key = Key.of_name(name)
        md5 = hashlib.md5(blob, usedforsecurity=False).hexdigest()
        with closing(Store(self.data)) as store:
            store.insert(new_row(key, md5, examine(blob).fields or _UNKNOWN, _SOMEBODY))
            store.write_object(key.object_name, blob)

    def hold_bundle_file(self, bundle, key, blob, mtime):
        """Let it hold a file of a machine-learning bundle, whatever its key."""
        Bundles(self.data).hold(bundle, key, blob, mtime)

    def bundle_files(self, bundle):
        """Return the bytes and mtimes of a bundle's files by key."""
        return Bundles(self.data).files(bundle)

    def overwrite(self, name, blob):
        """Store another object under a picture's file name, as a refused duplicate does; None removes it."""
        with closing(Store(self.data)) as store:
            store.write_object(Key.of_name(name).object_name, blob)

    def rows(self):
        """Return the database's rows, oldest first."""
        with closing(Store(self.data)) as store:
            return store.rows()

    def objects(self):
        """Return the stored objects: their bytes by `<device>/<file name>`."""
        with closing(Store(self.data)) as store:
            return store.objects()
