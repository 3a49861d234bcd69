# ruff: noqa: DTZ001, DTZ901 - naive datetimes are UTC throughout
"""Two processes that put pictures into one store at the same time, half of them the same ones."""

import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sticky_pi_api.client import LocalClient
from sticky_pi_uploader.demo.pictures import picture_bytes

COUNT = int(os.environ.get("STICKY_PI_TEST_PICTURES") or 1000)
"""How many pictures each process puts"""

TAKEN = datetime(2020, 7, 5, 10, 7, 16)
ALL = [{"device": "%", "start_datetime": datetime.min, "end_datetime": datetime.max}]
PUT = """if True:
    import json, sys
    from collections import Counter
    from sticky_pi_api.client import LocalClient

    outcomes = Counter()
    with LocalClient(sys.argv[1], n_threads=2) as client:
        print("ready", flush=True)
        files = json.loads(sys.stdin.readline())
        stored = client.put_images(files, on_outcome=lambda one: outcomes.update([one.outcome]))
    print(json.dumps([outcomes, sorted(row["md5"] for row in stored)]))
"""


@pytest.fixture
def pictures(tmp_path):
    """Make two lists of COUNT pictures, half of each the same: those of both under one name have the same bytes."""
    models = [picture_bytes("00000000", TAKEN, size=(64, 48), seed=seed) for seed in range(97)]
    lists = []
    for number, name in enumerate(("first", "second")):
        (tmp_path / name).mkdir()
        begin = number * (COUNT // 2)
        paths = []
        for index in range(begin, begin + COUNT):
            when = TAKEN + timedelta(minutes=20) * (index // 4)
            paths.append(tmp_path / name / f"{index % 4:08x}.{when:%Y-%m-%d_%H-%M-%S}.jpg")
            paths[-1].write_bytes(models[index % len(models)])
        lists.append([str(path) for path in paths])
    return lists


def put_at_once(store, lists):
    """Let a process for each list put it, all from the same moment on; return what each says of it."""
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", PUT, store], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
                )
            )
            for _ in lists
        ]
        for process in processes:
            assert process.stdout.readline() == "ready\n"
        for process, files in zip(processes, lists, strict=True):
            process.stdin.write(json.dumps(files) + "\n")
            process.stdin.flush()
        return [json.loads(process.stdout.read()) for process in processes]


def md5_of(path):
    return hashlib.md5(Path(path).read_bytes(), usedforsecurity=False).hexdigest()


def test_each_picture_is_stored_once_and_both_sums_add_up(tmp_path, pictures):
    first, second = pictures
    # One of them goes the other way round, so that they meet in the middle of what both have.
    answers = put_at_once(tmp_path / "store", [first, second[::-1]])
    assert [sum(outcomes.values()) for outcomes, _ in answers] == [COUNT, COUNT]
    total = sum((Counter(outcomes) for outcomes, _ in answers), Counter())
    unique = {os.path.basename(path): path for path in first + second}
    assert total == {"stored": len(unique), "held": 2 * COUNT - len(unique)}
    assert [outcomes["stored"] for outcomes, _ in answers] == [len(md5s) for _, md5s in answers]
    assert sorted(md5 for _, md5s in answers for md5 in md5s) == sorted(map(md5_of, unique.values()))

    with LocalClient(tmp_path / "store") as client:
        rows = client.get_image_series(ALL, "image")
    assert {os.path.basename(row["url"]): row["md5"] for row in rows} == {
        name: md5_of(path) for name, path in unique.items()
    }
    assert all(md5_of(row["url"]) == row["md5"] for row in rows)
    files = {str(path) for path in (tmp_path / "store" / "raw_images").rglob("*") if path.is_file()}
    assert files == {row["url"] + suffix for row in rows for suffix in ("", ".thumbnail", ".thumbnail_mini")}
