"""`config`: print the effective configuration, secrets masked."""

from __future__ import annotations

import os
from argparse import Namespace

from ...config import from_arguments
from ...config.toml import as_toml
from ..output.terminal import print_lines


def run(arguments: Namespace) -> int:
    """Print the configuration as a file that would give the same one."""
    print_lines([as_toml(from_arguments(arguments, os.environ)).rstrip("\n")])
    return 0
