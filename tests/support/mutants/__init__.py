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
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from . import tree

ROOT = Path(__file__).parents[3]
LONGEST = 300
"""Seconds that the tests of one guard get; what a mutation makes hang is noticed, too"""
_COPIED = ("config", "daemon", "systemd", "tests", "README.md", "LICENSE", "pyproject.toml")
_FUNCTION = re.compile(r"^def (test_\w+)", re.MULTILINE)
_FAILED = re.compile(r"^(?:FAILED|ERROR) (?:tests/)?([^\s\[]+)", re.MULTILINE)


@dataclass(frozen=True)
class Guard:
    """Something that the promise rests on, and how the code is without it."""

    name: str
    """of the guard, not of what is done to it"""
    place: str
    """the function, class or constant that it is in, as `tree` takes it"""
    code: str
    """what is there once, and is to be replaced"""
    instead: str
    """empty where statements are to be left out"""
    tests: tuple
    """those that are to notice: the names of test functions, or of files with all their tests"""
    why: str
    """what would be lost or harmed without it"""
    in_text: bool = False
    """whether the code is part of a text, such as SQL"""

    def applied(self, root):
        """Return the guard's file, and its source without the guard.

        Raises ValueError where the guard isn't there just once.
        """
        file, node = tree.locate(root / "daemon", self.place)
        source = file.read_text("utf-8")
        try:
            return file, tree.changed(source, node, self.code, self.instead, in_text=self.in_text)
        except ValueError as error:
            raise ValueError(f"{self.name}: in {self.place}, {error}") from None


@dataclass(frozen=True)
class Result:
    """What came of a guard's removal."""

    guard: Guard
    noticed_by: str | None
    """the first test that failed; None if none did"""
    seconds: float
    said: str
    """what the tests printed"""


def located(tests):
    """Find tests by the names of their functions, or of their files; returns them as pytest takes them.

    Raises KeyError where one isn't there.
    """
    return tuple(_all_tests()[test] for test in tests)


@cache
def _all_tests():
    found = {}
    for path in (ROOT / "tests").rglob("test_*.py"):
        file = str(path.relative_to(ROOT / "tests"))
        found[path.name] = file
        found |= {name: f"{file}::{name}" for name in _FUNCTION.findall(path.read_text("utf-8"))}
    return found


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
        file, source = guard.applied(self._root)
        began = time.monotonic()
        with self._changed(file, source):
            noticed_by, said = self.run(located(guard.tests))
        return Result(guard, noticed_by, time.monotonic() - began, said)

    @contextmanager
    def _changed(self, file, source):
        before = file.read_text("utf-8")
        try:
            file.write_text(source, "utf-8")
            yield
        finally:
            file.write_text(before, "utf-8")
