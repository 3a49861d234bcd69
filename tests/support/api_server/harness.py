"""The server as tests use it: started, steered and looked into."""

import hashlib
import sys
from contextlib import closing
from dataclasses import asdict, replace
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


class ApiServer:
    """A server in a process of its own, running inside `with`; `options` are those of `Options`.

    The account `trap` with the password `pollen` may write, `guest` with the same one may not.
    """

    def __init__(self, data, *, python=(sys.executable,), **options):
        """Keep its folder, which holds rows, objects and the ledger across restarts; `python` starts Python."""
        self._python = python
        self._options = Options(data=str(data), **options)
        self._process = None

    def __enter__(self):
        """Start it."""
        self.start()
        return self

    def __exit__(self, *_):
        """Stop it."""
        self.stop()

    @property
    def host(self):
        """The address that it listens on."""
        return self._options.host

    @property
    def port(self):
        """The port that it listens on, the same after a restart."""
        return self._options.port

    @property
    def url(self):
        """The address that clients are given."""
        return f"http://{self.host}:{self.port}"

    def start(self):
        """Start the process; it listens when this returns."""
        self._process = OwnProcess("api_server", *command_line(self._options), python=self._python)
        self._options = replace(self._options, port=self._process.port)

    def stop(self):
        """End the process, whatever it is doing: its tokens are forgotten, its workers gone."""
        self._process.stop()

    def set_mode(self, name="ok", **details):
        """Put the whole server into a state; the names and details are those of `modes.Mode`."""
        self._process.ask({"mode": asdict(Mode(name, **details))})

    def expire_tokens(self):
        """Make the tokens handed out so far worthless."""
        self._process.ask({"expire_tokens": True})

    def restart_database(self, seconds=0.0):
        """Let its database be away for so long, after which each worker fails at its first request."""
        self._process.ask({"restart_database": seconds})

    def reset(self):
        """Make it as new: without pictures, requests, tokens, and a bad state."""
        self._process.ask({"reset": True})

    def requests(self, path=""):
        """Return the ledger's entries, those whose path begins with `path`."""
        entries = read_ledger(Path(self._options.data) / LEDGER)
        return [entry for entry in entries if entry.path.startswith(path)]

    def sent_files(self):
        """Return every file of every upload, also of those that broke off."""
        return [file for entry in self.requests("/_put_new_images") for file in entry.files]

    def hold(self, name, blob):
        """Let it hold a picture under a file name; bytes that are no trap's picture are held as well."""
        key = Key.of_name(name)
        md5 = hashlib.md5(blob, usedforsecurity=False).hexdigest()
        with closing(Store(self._options.data)) as store:
            store.insert(new_row(key, md5, examine(blob).fields or _UNKNOWN, _SOMEBODY))
            store.write_object(key.object_name, blob)

    def hold_bundle_file(self, bundle, key, blob, mtime):
        """Let it hold a file of a machine-learning bundle, whatever its key."""
        Bundles(self._options.data).hold(bundle, key, blob, mtime)

    def bundle_files(self, bundle):
        """Return the bytes and mtimes of a bundle's files by key."""
        return Bundles(self._options.data).files(bundle)

    def overwrite(self, name, blob):
        """Store another object under a picture's file name, as a refused duplicate does; None removes it."""
        with closing(Store(self._options.data)) as store:
            store.write_object(Key.of_name(name).object_name, blob)

    def rows(self):
        """Return the database's rows, oldest first."""
        with closing(Store(self._options.data)) as store:
            return store.rows()

    def objects(self):
        """Return the stored objects: their bytes by `<device>/<file name>`."""
        with closing(Store(self._options.data)) as store:
            return store.objects()
