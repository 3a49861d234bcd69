"""Change the code in a copy of the project, one place at a time, and see whether a test notices.

python -m mutants                          each guard of the promise (`guards.GUARDS`) is taken away
python -m mutants unlink                   only the guards with "unlink" in their names
python -m mutants --chance 200 --seed 7    200 places, chosen at random, are changed (`chance`)
"""

import compileall
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from py_compile import PycInvalidationMode

from . import tree

ROOT = Path(__file__).parents[3]
LONGEST = 300
"""Processor seconds that the tests of one guard get; what a mutation makes hang is noticed, too"""
_WAITING = 4
"""Times as long that they may take in all: on a busy machine, they wait for most of the time"""
_LONGEST_TEST = 120
"""Seconds that one of these tests may take"""
_COPIED = ("config", "daemon", "systemd", "tests", "README.md", "CONTRIBUTING.md", "LICENSE", "pyproject.toml")
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
        """Copy what the tests need into an empty folder, and compile it: each command that a test starts loads it.

        Python takes compiled code for that of a file as long as the file's bytes are the same, whatever its times are.
        """
        self._root = Path(folder)
        ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
        for name in _COPIED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, self._root / name, ignore=ignored)
            else:
                shutil.copy(ROOT / name, self._root / name)
        for path in (self._root / "daemon", self._root / "tests" / "support"):
            compileall.compile_dir(path, quiet=1, invalidation_mode=PycInvalidationMode.CHECKED_HASH)

    def run(self, tests, *, timeout=LONGEST):
        """Run tests on the copy as it is; returns the first that failed (None: none did), and what was printed.

        Raises RuntimeError if they can't be run.
        """
        status, said = self._pytest(tests, timeout)
        if status is None:
            return f"hung: {tests[0]}", said
        if status == 0:
            return None, said
        # Anything but failed tests is a fault of the list.
        if status != 1 or not (found := _FAILED.search(said)):
            raise RuntimeError(f"{tests} can't be run:\n{said}")
        return found[1], said

    def without(self, guard):
        """Run a guard's tests on the copy without it."""
        file, source = guard.applied(self._root)
        began = time.monotonic()
        with self._changed(file, source):
            noticed_by, said = self.run(located(guard.tests))
        return Result(guard, noticed_by, time.monotonic() - began, said)

    def with_change(self, file, source, tests, *, timeout):
        """Run tests on the copy with another source of a file below `daemon`; returns what noticed it, or None.

        Code that can't be imported, or makes the tests hang, is noticed.
        """
        with self._changed(self._root / "daemon" / file, source):
            status, said = self._pytest(tests, timeout)
        if status is None:
            return "hung"
        found = _FAILED.search(said)
        return None if status == 0 else found[1] if found else f"pytest: exit status {status}"

    def _pytest(self, tests, timeout):
        """Run tests, and end their processes; returns the exit status (None: they hung) and what was printed."""
        command = ["prlimit", f"--cpu={timeout}:", sys.executable, "-m", "pytest"]
        command += ["-x", "-q", "-p", "no:cacheprovider", "--tb=short"]
        command += [test if test.startswith("-") else f"tests/{test}" for test in tests]
        environment = os.environ | {
            "PYTHONPATH": str(self._root / "daemon"),
            "STICKY_PI_LONGEST_TEST": str(_LONGEST_TEST),
        }
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
            os.chmod(temporary, 0o755)  # some tests work as another user
            with subprocess.Popen(
                command,
                cwd=self._root,
                env=environment | {"TMPDIR": temporary},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            ) as process:
                try:
                    said, _ = process.communicate(timeout=_WAITING * timeout)
                except subprocess.TimeoutExpired:
                    return None, ""
                else:
                    return None if process.returncode == -signal.SIGXCPU else process.returncode, said
                finally:
                    with suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)

    @contextmanager
    def _changed(self, file, source):
        before = file.read_text("utf-8")
        try:
            file.write_text(source, "utf-8")
            yield
        finally:
            file.write_text(before, "utf-8")
