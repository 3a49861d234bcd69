import os
import re
import subprocess
import sys
import time

from sticky_pi_uploader.cli.commands.status import status_screen
from sticky_pi_uploader.models import Destination, DestinationState, State


def test_status_tells_all_that_a_program_may_ask(busy):
    status = busy.json("status")
    assert status["counts"] == {"pending": 3, "uploading": 0, "uploaded": 1, "conflict": 0, "rejected": 1, "lost": 1}
    assert status["oldest_pending"] == "2020-06-20T00:00:00Z"
    assert status["last_upload"] == "2020-09-13T12:26:40Z"
    assert status["destination"] == {
        "url": busy.url,
        "state": "unreachable",
        "reason": "disk full",
        "retry_at": "2020-09-13T12:27:10Z",
    }
    assert status["disk"]["free_bytes"] > 0
    assert (status["config_file"], status["state_dir"]) == (None, str(busy.state))
    assert status["image_dir"] == str(busy.images)
    assert (status["image_dir_problem"], status["running"]) == (None, False)


def test_status_answers_in_its_first_line_whether_all_is_well(trap, taken):
    def first_line():
        return trap.run("status").stdout.decode().splitlines()[0]

    assert first_line() == "Nothing yet: no picture has been taken in."
    trap.record(*(taken(f"5c173ff2.2020-06-20_00-00-0{number}.jpg", number) for number in (1, 2)))
    assert first_line() == "Waiting: 2 pictures to be sent, and nothing is at work that sends."
    with trap.open() as outbox:
        for picture in outbox.queue.claim(2):
            outbox.queue.confirm(picture, picture.md5, "stored")
    assert first_line() == "All is well: 2 pictures, and the destination has every one."
    trap.record(taken("c.jpg", 3), taken("d.jpg", rejected="it isn't a JPEG", device=None, datetime=None, md5=None))
    assert first_line() == "Attention: 1 picture needs a look (1 rejected); 1 picture to be sent."
    with trap.open() as outbox:
        outbox.destinations.update(Destination(trap.url, DestinationState.REFUSING, "disk full"))
    assert first_line() == "Attention: the destination takes no pictures; 1 picture to be sent."
    trap.images.rmdir()
    assert first_line() == f"Attention: the image folder {trap.images} isn't there; 1 picture to be sent."


def test_status_names_files_folders_and_the_destination(busy):
    config = busy.folder / "config.toml"
    config.write_text(f'image_dir = "{busy.images}"\nstate_dir = "{busy.state}"\n[api]\nurl = "{busy.url}"\n')
    shown = busy.run("status", flags=["--config", str(config)]).stdout.decode()
    for named in (config, busy.images, busy.state, busy.url):
        assert str(named) in shown
    assert re.search(r"\n +unreachable: disk full\n +next try at once\n", shown)


def test_a_wait_is_told_as_what_is_left_of_it(trap, taken):
    with trap.open() as outbox:
        outbox.catalog.record([taken("a.jpg")])
        outbox.destinations.update(Destination(trap.url, DestinationState.UNREACHABLE, "off", time.time() + 7500, 3))
    shown = trap.run("status").stdout.decode()
    assert shown.startswith("Waiting: the destination can't be reached; 1 picture to be sent when it can.\n")
    assert re.search(r"\n +next try in 2 hours \(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC\)\n", shown)


def test_a_free_space_under_50_mb_is_said_first():
    status = {
        "image_dir_problem": None,
        "counts": dict.fromkeys(State, 0),
        "disk": {"free_bytes": 49_000_000, "total_bytes": 10**9},
        "destination": {"url": "file:///s", "state": "ok", "reason": None, "retry_at": None},
        "oldest_pending": None,
        "last_upload": None,
        "running": None,
        **dict.fromkeys(("image_dir", "state_dir", "config_file"), "/x"),
    }
    first = next(status_screen(status, 0.0, "sticky-pi-uploader {}".format))
    assert first == "Attention: only 49 MB are free. Below 50 MB the camera keeps no pictures."


def test_a_disk_that_fills_is_an_alarm_where_room_is_to_be_made(trap, taken):
    trap.record(taken("a.jpg", 1))
    config = trap.folder / "config.toml"
    config.write_text('[retention]\nkeep_days = 30\nmin_free = "99.9 %"\n', encoding="ascii")
    line = trap.run("status", "--config", str(config)).stdout.decode().splitlines()[0]
    assert re.fullmatch(r"Attention: only .* are free, less than min_free; 1 picture to be sent\.", line)
    config.write_text('[retention]\nmin_free = "99.9 %"\n', encoding="ascii")
    assert trap.run("status", "--config", str(config)).stdout.startswith(b"Waiting: ")


def test_the_commands_that_it_suggests_keep_the_flags_that_were_given(busy):
    flags = ["--image-dir", "pictures", "--state-dir", busy.state]
    (line,) = (line for line in busy.run("status", flags=flags).stdout.decode().splitlines() if " list --state" in line)
    suggested = line.partition("`")[2].partition("`")[0]
    assert f" --image-dir pictures --state-dir {busy.state} list " in suggested
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    typed = subprocess.run(suggested, shell=True, cwd=busy.folder, env=environment, capture_output=True, check=True)
    assert b"notes.jpg" in typed.stdout
