"""The proxy as tests use it."""

import json
from dataclasses import asdict, replace

from own_process import OwnProcess

from .proxy import Settings


class FaultProxy:
    """A proxy in a process of its own, running inside `with`, in front of the server on a port of 127.0.0.1.

    The settings are those of `proxy.Settings`.
    """

    def __init__(self, upstream, **settings):
        """Keep the settings."""
        self._settings = Settings(upstream, **settings)
        self._process = None

    def __enter__(self):
        """Start it."""
        self.start()
        return self

    def __exit__(self, *_):
        """Stop it."""
        self.stop()

    @property
    def port(self):
        """The port that it listens on, the same after a restart."""
        return self._settings.port

    @property
    def url(self):
        """The address that clients are given."""
        return f"{'https' if self._settings.certificate else 'http'}://localhost:{self.port}"

    def start(self):
        """Start the process; it listens when this returns."""
        self._process = OwnProcess("fault_proxy", json.dumps(asdict(self._settings)))
        self._settings = replace(self._settings, port=self._process.port)

    def stop(self):
        """End the process: its connections break off, and new ones are refused."""
        self._process.stop()

    def set(self, **settings):
        """Change settings while it runs; the rules and the counts begin anew."""
        self._settings = replace(self._settings, **settings)
        self._process.ask({"settings": asdict(self._settings)})

    def reset(self, **settings):
        """Make it as new, with these settings; what can't be changed stays."""
        current = self._settings
        self._settings = Settings(current.upstream, current.port, current.certificate)
        self.set(**settings)

    def counts(self):
        """Return how many connections, requests, bytes_up, bytes_down and fault_<kind> there were.

        Since the start, or since the settings changed; the bytes are those of HTTP, inside TLS.
        """
        return self._process.ask({})
