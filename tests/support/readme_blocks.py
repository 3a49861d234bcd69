"""README's blocks of commands, to be run as they stand."""

import re
from pathlib import Path

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")


def of_readme(what):
    """Return the lines of README's block of commands that has `what` in it."""
    (block,) = (block for block in re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL) if what in block)
    return block


def of_section(heading):
    """Return the blocks of commands of a section, in their order."""
    section = README.split(f" {heading}\n")[1].split("\n##")[0]
    return re.findall(r"```sh\n(.*?)```", section, flags=re.DOTALL)
