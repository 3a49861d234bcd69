"""`run`: work as the service, until a signal stops it."""

from __future__ import annotations

import gc
import os
from argparse import Namespace

from ....config import Config, from_arguments
from ....journal import setup as logs
from ....service import service


def run(arguments: Namespace) -> int:
    """Run the service, which loads the configuration again at a reload."""

    def load() -> Config:
        config = from_arguments(arguments, os.environ, check_secrets=True, check_url=False)
        # A reload compares them: the file may have changed.
        return config._replace(api=config.api.with_certificates())

    logs.set_up()
    gc.set_threshold(10_000)  # in months, garbage would add up
    return service.run(load)
