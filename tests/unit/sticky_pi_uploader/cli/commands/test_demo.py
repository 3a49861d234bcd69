import os
import shlex
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import sticky_pi_uploader
from sticky_pi_uploader.config import load

SOURCE = Path(sticky_pi_uploader.__file__).parents[1]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """What `demo` printed, and the folder in which it was typed."""
    here = tmp_path_factory.mktemp("demo")
    done = run(here, "demo")
    assert done.returncode == 0, done.stderr
    return here, done.stdout


def run(here, *words):
    return subprocess.run(
        [sys.executable, "-m", "sticky_pi_uploader", *words],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=here,
        env={"PYTHONPATH": str(SOURCE), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
    )


def rows(here):
    with closing(sqlite3.connect(here / "sticky-pi-demo" / "store" / "database.db")) as store:
        return store.execute("SELECT id, device, datetime_created, temp, no_flash_iso, bat FROM images").fetchall()


def test_the_demo_sends_both_generations_and_explains_what_cannot_be_sent(demo):
    here, shown = demo
    listed = [line.split() for line in shown.splitlines() if line.startswith("  ") and ".jpg" in line]
    states = [words[0] for words in listed if words[0] in ("uploaded", "rejected")]
    assert (states.count("uploaded"), states.count("rejected")) == (12, 2)
    assert "it is cut short" in shown
    stored = rows(here)
    assert {row[1] for row in stored} == {"5c173ff2", "512858f4"}
    assert sum(row[4] is not None for row in stored) == 6  # 2020
    assert sum(row[5] is not None for row in stored) == 6  # 2022


def test_the_three_layouts_are_there(demo):
    images = demo[0] / "sticky-pi-demo" / "pictures"
    depths = {len(path.relative_to(images).parts) for path in images.rglob("5*.jpg")}
    assert depths == {1, 2, 3}


def test_all_that_the_demo_names_is_there(demo):
    here, shown = demo
    named = shown.split("Where it is now:")[1].split("What to try next:")[0]
    paths = [line.split()[0] for line in named.splitlines() if line.strip()]
    assert len(paths) == 3
    assert all((here / path).exists() for path in paths)
    thumbnails = list((here / "sticky-pi-demo" / "store" / "raw_images").rglob("*.thumbnail"))
    assert len(thumbnails) == 12


def test_what_is_to_be_tried_next_works_as_it_is_printed(demo):
    here, shown = demo
    commands = [line.strip() for line in shown.split("What to try next:")[1].splitlines() if line.strip()]
    assert len(commands) == 5
    ours = [command for command in commands[:-1] if "sticky_pi_uploader" in command]
    assert len(ours) == 3
    for command in ours:
        words = shlex.split(command)
        done = run(here, *words[words.index("sticky_pi_uploader") + 1 :])
        assert done.returncode == 0
        assert done.stdout


def test_again_on_its_own_folder_it_sends_nothing_twice(demo):
    here, _ = demo
    before = rows(here)
    done = run(here, "demo", "sticky-pi-demo")
    assert done.returncode == 0
    assert "uploaded" not in done.stderr
    assert rows(here) == before


def test_a_folder_with_other_things_in_it_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    done = run(tmp_path, "demo", ".")
    assert done.returncode == 2
    assert "has other things in it" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    assert run(tmp_path, "demo", "thesis.txt").returncode == 2


def test_a_folder_that_cannot_be_made_is_one_message(tmp_path):
    done = run(tmp_path, "demo", "/proc/demo")
    assert done.returncode == 74
    assert len(done.stderr.splitlines()) == 1


def test_a_folder_that_no_configuration_can_name_is_refused(tmp_path):
    done = run(tmp_path, "demo", b"caf\xe9")
    assert done.returncode == 2
    assert "UTF-8" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_demo_writes_a_configuration_of_its_own(demo):
    folder = demo[0] / "sticky-pi-demo"
    config = load({}, {}, str(folder / "config.toml"))
    assert (config.image_dir, config.state_dir) == (str(folder / "pictures"), str(folder / "state"))
    assert config.api.store == str(folder / "store")
