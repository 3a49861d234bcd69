"""Puts the files that `install-service` writes into the wheel: units, man page, completion, configuration, catalog."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SHARE = "sticky_pi_uploader/share"


class ServiceFiles(BuildHookInterface[Any]):
    """Makes the files while a wheel is built; an editable installation gets none."""

    _folder: tempfile.TemporaryDirectory[str] | None = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Make the files, and tell hatchling where each belongs."""
        if version == "editable":
            return
        project = Path(self.root)
        sys.path[:0] = [str(project / "systemd" / "deb"), str(project / "daemon")]
        from package import wheel_files

        self._folder = tempfile.TemporaryDirectory()
        for file in wheel_files(project):
            path = Path(self._folder.name, file.path)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.content)
            path.chmod(file.mode)
            build_data["force_include"][str(path)] = f"{SHARE}/{file.path}"

    def finalize(self, *_: Any) -> None:
        """Remove the files."""
        if self._folder is not None:
            self._folder.cleanup()
