import os
import re
import sys

import pytest
from sticky_pi_uploader.intake.directory_sync import DirectorySync
from tracing import traced

FLUSH = """if True:
    import os, sys, time
    from sticky_pi_uploader.intake.directory_sync import DirectorySync
    late = [0]
    entries = DirectorySync(sys.argv[1], clock=lambda: time.time() + late[0])
    for step in sys.argv[2:]:
        os.write(1, b"step\\n")
        verb, _, folder = step.partition(":")
        path = os.path.join(sys.argv[1], folder)
        {"make": os.makedirs, "remove": os.rmdir, "wait": lambda _: late.append(late.pop() + 60),
         "flush": lambda _: entries.flush([folder])}[verb](path)
"""


@pytest.fixture
def flushed(tmp_path):
    """Have each step done, and return the folders that each of them flushed."""

    def do(*steps):
        log = tmp_path / "log"
        images = tmp_path / "images"
        images.mkdir()
        options = ["-y", "-s", "5", "-o", log, "-e", "trace=fsync,write"]
        done = traced(options, [sys.executable, "-c", FLUSH, images, *steps])
        assert done.returncode == 0, done.stderr
        parts = re.split(r'"step', log.read_text(encoding="utf-8"))[1:]
        found = [re.findall(r"fsync\(\d+<([^>]*)>", part) for part in parts]
        return [sorted(os.path.relpath(path, images) for path in each) for each in found]

    return do


def test_what_changed_is_flushed_and_only_that(flushed):
    steps = ("make:a/b", "wait:", "flush:a/b", "flush:a/b", "make:a/c", "flush:a/c", "flush:a/b")
    assert flushed(*steps) == [[], [], [".", "a", "a/b"], ["a/b"], [], ["a", "a/c"], ["a/b"]]


def test_a_folder_that_was_made_again_is_new_even_under_its_old_number(flushed):
    assert flushed("make:a/b", "wait:", "flush:a/b", "remove:a/b", "make:a/b", "flush:a/b")[-1] == ["a", "a/b"]


def test_what_changed_just_now_is_flushed_until_any_later_change_shows(flushed):
    steps = ("make:a/b", "flush:a/b", "flush:a/b", "wait:", "flush:a/b", "flush:a/b")
    everything = [".", "a", "a/b"]
    assert flushed(*steps) == [[], everything, everything, [], everything, ["a/b"]]


def test_a_file_system_that_cannot_flush_is_no_error():
    with pytest.raises(OSError, match="Invalid argument"), open("/proc/self/status", "rb") as file:
        os.fsync(file.fileno())
    assert DirectorySync("/proc").flush(["self"]) == {"self"}


def test_folders_that_are_flushed_are_told_from_those_that_are_gone(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "file").touch()
    entries = DirectorySync(os.fspath(tmp_path))
    for _ in range(2):
        assert entries.flush(["a/b", "", "a/gone", "gone/deeper", "file"]) == {"a/b", ""}
    assert entries.flush([]) == set()
    assert DirectorySync(os.fspath(tmp_path / "gone")).flush(["", "a"]) == set()
