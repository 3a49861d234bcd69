"""The reference server behind TLS, as traps see it, in processes of its own."""

from contextlib import contextmanager
from typing import NamedTuple

from api_server import ApiServer
from certificates import Authority
from fault_proxy import FaultProxy


class HttpsServer(NamedTuple):
    """A running server."""

    api: ApiServer
    front: FaultProxy
    """what speaks TLS before it"""
    ca_file: str

    def flags(self, config):
        """Return the console command's arguments that send pictures there; `config` is a file that is written."""
        config.write_text(f"[api]\nca_file = '{self.ca_file}'\n")
        return ["--config", config, "--api-url", self.front.url, "--username", "trap"]


@contextmanager
def https_server(folder, **options):
    """Run it in a folder."""
    (folder / "authority").mkdir()
    authority = Authority(folder / "authority")
    certificate = authority.certificate()
    with ApiServer(folder / "api", **options) as api, FaultProxy(api.port, certificate=certificate) as front:
        yield HttpsServer(api, front, authority.ca_file)


PASSWORD = {"SPI_API_PASSWORD": "pollen"}
"""the account's, as the environment has it"""
