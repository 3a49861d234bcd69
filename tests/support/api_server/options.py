"""What can be set when the server starts, as a dataclass and as a command line."""

import argparse
from dataclasses import dataclass, field, fields


def _option(default, meaning):
    return field(default=default, metadata={"help": meaning})


@dataclass(frozen=True, slots=True)
class Options:
    """How the server behaves; the defaults are the real servers' behaviour."""

    data: str = _option("", "folder for the rows, the stored objects and the ledger; one that is there is gone on with")
    generation: int = _option(2023, "2021 or 2023")
    host: str = _option("127.0.0.1", "address that it listens on")
    port: int = _option(0, "port there; 0 for any that is free")
    users: str = _option("trap:pollen", "accounts that may write, as name:password, separated by commas")
    readers: str = _option("guest:pollen", "accounts that may not")
    object_url: str = _option("", "what the objects' urls begin with; empty for the server's own address")
    token_life: float = _option(86400.0, "seconds that a token is good for")
    clock_offset: float = _option(0.0, "seconds that the server's clock is ahead of the true time")
    workers: int = _option(4, "requests that are worked on at once")
    upload_time: float = _option(0.0, "seconds that a worker takes for an upload, before it stores anything")
    gateway_timeout: float = _option(60.0, "seconds until a request that no worker has taken is answered 504")
    hang: float = _option(
        300.0, "seconds that a worker hangs on a JPEG cut short before it is killed; 0: a 500 at once"
    )
    respawn: float = _option(1.0, "seconds until a killed worker is replaced")
    idle: float = _option(60.0, "seconds until an idle connection is closed")
    body_stall: float = _option(60.0, "seconds that a request body may stall before it is dropped without an answer")
    largest_body: int = _option(100_000_000, "bytes; more is answered 413")
    cold_workers: int = _option(0, "1: each worker answers its first request with a 500, as after a start")
    worker_choice: str = _option("any", "which free worker has the next request: any, or in turn")
    cold_uploads: int = _option(0, "of this many first uploads, every third that runs beside another is answered 500")


def parse(arguments):
    """Return the options of a command line."""
    parser = argparse.ArgumentParser(prog="api_server", description="A reference server of the Sticky Pi API.")
    for one in fields(Options):
        name = "--" + one.name.replace("_", "-")
        parser.add_argument(
            name, type=type(one.default), default=one.default, required=one.name == "data", help=one.metadata["help"]
        )
    return Options(**vars(parser.parse_args(arguments)))


def command_line(options):
    """Return the arguments that `parse` makes `options` of."""
    return [f"--{one.name.replace('_', '-')}={getattr(options, one.name)}" for one in fields(Options)]
