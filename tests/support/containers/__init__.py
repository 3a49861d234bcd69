"""Containers for tests that boot a real systemd, made from Debian's own packages.

`debian` makes a release's root file system, once; `Workshop` is where containers are mounted and run, out of sight of
the machine that it is on; a `Machine` is one of them, to boot, look into, and pull the plug of; and a `Trap` is a
machine with the package installed. All of it takes root.
"""

from .debian import RELEASES, make_root_file_systems
from .machine import Machine, Result
from .needs import reason_to_skip
from .trap import Trap
from .workshop import Workshop

__all__ = ["RELEASES", "Machine", "Result", "Trap", "Workshop", "make_root_file_systems", "reason_to_skip"]
