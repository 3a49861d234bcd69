"""Takes one guard of the promise away at a time, from a copy of the project, and sees whether a test notices.

python -m mutants            all of `guards.GUARDS`, with a table of what noticed each
python -m mutants unlink     those whose names have "unlink" in them
"""

import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
LONGEST = 300
"""Seconds that the tests of one guard get; what a mutation makes hang is noticed, too"""
_COPIED = ("config", "daemon", "systemd", "tests", "README.md", "LICENSE", "pyproject.toml")
_FAILED = re.compile(r"^(?:FAILED|ERROR) (?:tests/)?([^\s\[]+)", re.MULTILINE)


@dataclass(frozen=True)
class Guard:
    """Something that the promise rests on, and how the code is without it."""

    name: str
    """of the guard, not of what is done to it"""
    file: str
    """below `daemon`"""
    text: str
    """what is there once, and is to be replaced"""
    instead: str
    tests: tuple
    """those that are to notice, below `tests`"""
    why: str
    """what would be lost or harmed without it"""

    def applied(self, root):
        """Return the file's text without the guard. Raises ValueError where its text isn't there just once."""
        source = (root / "daemon" / self.file).read_text("utf-8")
        if (found := source.count(self.text)) != 1:
            raise ValueError(f"{self.name}: its text is {found} times in {self.file}, not once")
        return source.replace(self.text, self.instead)


@dataclass(frozen=True)
class Result:
    """What came of a guard's removal."""

    guard: Guard
    noticed_by: str | None
    """the first test that failed; None if none did"""
    seconds: float
    said: str
    """what the tests printed"""


class Copy:
    """A copy of the project, in which guards can be missing."""

    def __init__(self, folder):
        """Copy what the tests need into an empty folder."""
        self._root = Path(folder)
        ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
        for name in _COPIED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, self._root / name, ignore=ignored)
            else:
                shutil.copy(ROOT / name, self._root / name)

    def run(self, tests, *, timeout=LONGEST):
        """Run tests on the copy as it is; returns the first that failed (None: none did), and what was printed."""
        environment = os.environ | {"PYTHONPATH": str(self._root / "daemon"), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--tb=short"]
        try:
            done = subprocess.run(
                [*command, *(f"tests/{test}" for test in tests)],
                cwd=self._root,
                env=environment,
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"hung: {tests[0]}", ""
        if done.returncode == 0:
            return None, done.stdout
        # Anything but failed tests is a fault of the list.
        if done.returncode != 1 or not (found := _FAILED.search(done.stdout)):
            raise RuntimeError(f"{tests} can't be run:\n{done.stdout}\n{done.stderr}")
        return found[1], done.stdout

    def without(self, guard):
        """Run a guard's tests on the copy without it."""
        path = self._root / "daemon" / guard.file
        before = path.read_text("utf-8")
        began = time.monotonic()
        try:
            path.write_text(guard.applied(self._root), "utf-8")
            noticed_by, said = self.run(guard.tests)
        finally:
            path.write_text(before, "utf-8")
        return Result(guard, noticed_by, time.monotonic() - began, said)
