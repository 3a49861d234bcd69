"""`dismiss`: acknowledge pictures that need attention; they stay in `list` and `audit`, and no file changes."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from ...output.formatting import pictures
from ...output.terminal import complain, print_lines
from ...state_reader import config_as_owner, sudo_advised
from .retry import change, complain_of_unknown, find_all, open_to_change


def add_arguments(parser: ArgumentParser) -> None:
    """Add the files."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="a picture: any path to it, or its name")


def run(arguments: Namespace) -> int:
    """Dismiss the pictures; the exit status is 1 where one isn't recorded."""
    config, files = config_as_owner(arguments, gives=True), arguments.files
    with sudo_advised(), open_to_change(config.state_dir) as outbox:
        if outbox is None:
            return complain_of_unknown(config, files)
        chosen, unknown = find_all(outbox, config.image_dir, files)
        dismissed = change(outbox, chosen.values(), outbox.catalog.dismiss)
    print_lines([f"{pictures(dismissed).capitalize()} dismissed."])
    for picture in chosen.values():
        if not picture.needs_attention:
            complain(f"{picture.path}: it is {picture.state}, and needs no attention")
    return complain_of_unknown(config, unknown)
