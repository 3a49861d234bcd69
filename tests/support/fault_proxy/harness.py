"""The proxy as tests use it."""

from dataclasses import asdict, replace

from own_process import OwnProcess

from .proxy import Settings


class FaultProxy(OwnProcess):
    """A proxy in a process of its own, running inside `with`, in front of the server on a port of 127.0.0.1.

    The settings are those of `proxy.Settings`. As it stops, its connections break off, and new ones are refused.
    """

    module = "fault_proxy"

    def __init__(self, upstream, **settings):
        """Keep the settings."""
        super().__init__(Settings(upstream, **settings))

    @property
    def url(self):
        """The address that clients are given."""
        return f"{'https' if self._settings.certificate else 'http'}://localhost:{self.port}"

    def set(self, **settings):
        """Change settings while it runs; the rules and the counts begin anew."""
        self._settings = replace(self._settings, **settings)
        self.ask({"settings": asdict(self._settings)})

    def reset(self, **settings):
        """Make it as new, with these settings; what can't be changed stays."""
        current = self._settings
        self._settings = Settings(current.upstream, current.port, current.certificate)
        self.set(**settings)

    def counts(self):
        """Return how many connections, requests, bytes_up, bytes_down and fault_<kind> there were.

        Since the start, or since the settings changed; the bytes are those of HTTP, inside TLS.
        """
        return self.ask({})
