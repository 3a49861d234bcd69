import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filled_disk import FilledDisk
from power_cuts import reason_to_skip
from sticky_pi_uploader.cli import render as tables
from sticky_pi_uploader.cli import reports
from sticky_pi_uploader.cli.commands import explain
from sticky_pi_uploader.exceptions import OutboxDamagedError, StateError
from sticky_pi_uploader.models import Destination, DestinationState, State
from sticky_pi_uploader.outbox import OutboxReader, outbox_path

STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
NASTY = "5c173ff2/caf\udce9\x1b[31m\n\u202e.jpg"


@pytest.fixture
def busy(trap, taken):
    """A trap with a picture in each state that a reader can meet."""
    with trap.open(clock=lambda: 1_600_000_000.0) as outbox:
        outbox.record([taken(f"5c173ff2/5c173ff2.2020-06-20_00-00-0{n}.jpg", n) for n in range(4)])
        outbox.record([taken("copy/5c173ff2.2020-06-20_00-00-09.jpg", 9, suspect="a hole in it")])
        outbox.record([taken("notes.jpg", rejected="it is a PNG picture", device=None, datetime=None, md5=None)])
        newest, oldest = outbox.claim(2)
        outbox.confirm(newest, newest.md5, "stored", accepted_by=trap.url)
        outbox.refuse(oldest, "it says 500", not_before=1_600_000_060.5, charge=1)
        outbox.lose(outbox.at("5c173ff2/5c173ff2.2020-06-20_00-00-01.jpg"))
        outbox.set_destination(Destination(trap.url, DestinationState.UNREACHABLE, "disk full", 1_600_000_030.0, 2))
    return trap


def damage(outbox, start, length, content=None):
    with open(outbox, "r+b") as file:
        file.seek(start)
        file.write(os.urandom(length) if content is None else content * length)


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
        for picture in outbox.claim(2):
            outbox.confirm(picture, picture.md5, "stored")
    assert first_line() == "All is well: 2 pictures, and the destination has every one."
    trap.record(taken("c.jpg", 3), taken("d.jpg", rejected="it is empty", device=None, datetime=None, md5=None))
    assert first_line() == "Attention: 1 picture needs a look (1 rejected); 1 picture to be sent."
    with trap.open() as outbox:
        outbox.set_destination(Destination(trap.url, DestinationState.REFUSING, "disk full"))
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
        outbox.record([taken("a.jpg")])
        outbox.set_destination(Destination(trap.url, DestinationState.UNREACHABLE, "off", time.time() + 7500, 3))
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
    first = next(tables.status_screen(status, 0.0))
    assert first == "Attention: only 49 MB are free. Below 50 MB the camera keeps no pictures."


def test_list_has_every_key_for_every_picture(busy):
    listed = busy.json("list")
    assert len(listed) == 6
    for picture in listed:
        assert list(picture) == [
            *("path", "device", "datetime", "md5", "state", "attempts", "not_before", "reason"),
            *("receipt_md5", "uploaded_at", "removed_at", "suspect"),
        ]
        for key in ("datetime", "not_before", "uploaded_at", "removed_at"):
            assert picture[key] is None or STAMP.fullmatch(picture[key])
    by_path = {picture["path"]: picture for picture in listed}
    assert by_path[f"{busy.images}/notes.jpg"]["md5"] is None
    sent = by_path[f"{busy.images}/copy/5c173ff2.2020-06-20_00-00-09.jpg"]
    refused = by_path[f"{busy.images}/5c173ff2/5c173ff2.2020-06-20_00-00-00.jpg"]
    assert (sent["state"], sent["receipt_md5"], sent["suspect"]) == ("uploaded", f"{9:032x}", "a hole in it")
    assert (refused["attempts"], refused["not_before"]) == (1, "2020-09-13T12:27:40Z")


def test_list_can_be_narrowed_to_some_states(busy):
    states = {picture["state"] for picture in busy.json("list", "--state", "lost", "--state", "rejected")}
    assert states == {"lost", "rejected"}
    lines = busy.run("list", "--state", "rejected").stdout.decode().splitlines()
    assert lines == ["rejected  -                     notes.jpg  it is a PNG picture"]


def test_a_misspelt_state_is_wrong_usage_and_says_what_was_meant(trap):
    done = trap.run("list", "--state", "pendign")
    assert done.returncode == 2
    assert b"there is no state 'pendign'; did you mean pending?" in done.stderr
    assert b"there are pending, uploading" in trap.run("list", "--state", "xyz").stderr


def test_with_no_state_yet_nothing_is_shown(trap):
    assert trap.json("list") == []
    assert trap.json("explain", "a.jpg") is None
    assert set(trap.json("status")["counts"].values()) == {0}
    for command in (["list"], ["explain", "a.jpg"]):
        done = trap.run(*command)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert not trap.state.exists()


def test_an_outbox_whose_tables_are_still_to_be_made_is_no_state_yet(trap):
    trap.state.mkdir()
    trap.outbox.touch()
    assert trap.json("list") == []


@pytest.mark.parametrize("name", ["exact", "relative to here", "relative to the image dir", "bare"])
def test_explain_finds_a_picture_by_any_name(busy, name):
    path = busy.images / "5c173ff2" / "5c173ff2.2020-06-20_00-00-03.jpg"
    names = {
        "exact": str(path),
        "relative to here": os.path.relpath(path, busy.folder),
        "relative to the image dir": os.path.relpath(path, busy.images),
        "bare": path.name,
    }
    story = busy.json("explain", names[name])
    assert story["path"] == str(path)
    assert story["metadata"] == {"temp": 21.5, "lat": None}
    assert story["history"] == [{"at": "2020-09-13T12:26:40Z", "state": "pending", "why": "taken in"}]


def test_explain_of_a_name_in_two_folders_shows_both_to_people_and_the_latest_to_programs(busy, taken):
    name = "5c173ff2.2020-06-20_00-00-03.jpg"
    with busy.open() as outbox:
        outbox.record([taken(f"copy/{name}", rejected="it is empty")])
    shown = busy.run("explain", name).stdout.decode()
    assert f"{busy.images}/5c173ff2/{name}: pending" in shown
    assert f"{busy.images}/copy/{name}: rejected" in shown
    with busy.open() as outbox:
        outbox.retry(outbox.at(f"5c173ff2/{name}"))
    story = busy.json("explain", name)
    assert story["path"] == f"{busy.images}/5c173ff2/{name}"
    assert story["history"][-1]["why"] == "asked for by hand"
    assert busy.json("explain", f"copy/{name}")["state"] == "rejected"


@pytest.mark.parametrize(
    ("synchronised", "shown"), [(True, "synchronised with"), (False, "not synchronised with"), (None, "")]
)
def test_explain_says_whether_the_clock_was_synchronised_when_a_picture_came(trap, taken, synchronised, shown):
    trap.record(taken("a.jpg", clock_synchronised=synchronised))
    assert trap.json("explain", "a.jpg")["clock_synchronised"] is synchronised
    assert (f"Clock then  {shown}" in trap.run("explain", "a.jpg").stdout.decode()) is bool(shown)


def test_explain_goes_through_a_link_to_the_image_dir(busy):
    os.symlink(busy.images, busy.folder / "link")
    assert busy.json("explain", "link/notes.jpg")["state"] == "rejected"


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("pictures/.hidden.jpg", "hidden"),
        ("pictures/.thumbs/a.jpg", "hidden"),
        ("pictures/link.jpg", "symbolic link"),
        ("pictures/linked/a.jpg", "symbolic link"),
        ("pictures/a.txt", "doesn't end in .jpg"),
        ("pictures/folder.jpg", "isn't a regular file"),
        ("state/a.jpg", "the uploader's own"),
        ("a.jpg", "isn't in the image folder"),
        ("pictures/new.jpg", "hasn't been seen yet"),
        ("pictures/nowhere.jpg", "no such file"),
    ],
)
def test_explain_says_why_a_file_is_not_recorded(trap, taken, path, why):
    trap.record(taken("b.jpg"))
    for folder in ("pictures/.thumbs", "pictures/folder.jpg"):
        (trap.folder / folder).mkdir(parents=True)
    for file in ("pictures/.hidden.jpg", "pictures/.thumbs/a.jpg", "pictures/a.txt", "a.jpg", "pictures/new.jpg"):
        (trap.folder / file).touch()
    (trap.state / "a.jpg").touch()
    os.symlink("new.jpg", trap.images / "link.jpg")
    os.symlink(trap.folder, trap.images / "linked")
    done = trap.run("explain", path)
    assert (done.returncode, done.stdout) == (1, b"")
    assert why in done.stderr.decode()
    assert json.loads(trap.run("explain", path, "--json").stdout) is None


@pytest.mark.parametrize("env", [{"LC_ALL": "C"}, {"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C.UTF-8"}])
def test_names_that_no_terminal_should_see_are_escaped(trap, taken, env):
    trap.record(taken(NASTY))
    listed = trap.run("list", env=env)
    assert (listed.returncode, listed.stderr) == (0, b"")
    assert listed.stdout.endswith(b"5c173ff2/caf\\xe9\\x1b[31m\\x0a\\u202e.jpg\n")
    explained = trap.run("explain", os.fsencode(NASTY), env=env)
    assert b"\x1b" not in explained.stdout
    assert b"caf\\xe9" in explained.stdout
    unknown = trap.run("explain", b"\x1b[31m\xff.jpg", env=env)
    assert unknown.returncode == 1
    assert unknown.stderr.startswith(b"sticky-pi-uploader: \\x1b[31m\\xff.jpg: ")
    for command in (["list"], ["explain", os.fsencode(NASTY)]):
        printed = trap.run(*command, "--json", env=env).stdout
        assert printed.isascii()
        assert b"\x1b" not in printed
        value = json.loads(printed)
        assert (value[0] if isinstance(value, list) else value)["path"] == f"{trap.images}/{NASTY}"


def test_json_is_of_printable_ascii_and_has_no_number_that_json_lacks():
    assert tables.to_json("a\x7fé\x1b", indent=None) == r'"a\u007f\u00e9\u001b"'
    assert tables.to_json({"a": [1]}) == '{\n  "a": [\n    1\n  ]\n}'
    assert tables.to_json({"a": [1]}, indent=None) == '{"a": [1]}'
    with pytest.raises(ValueError, match="not JSON compliant"):
        tables.to_json(float("nan"))


def test_numbers_that_json_lacks_become_null(trap, taken):
    trap.record(taken("a.jpg", metadata={"temp": float("nan"), "hum": float("inf"), "bat": 7}))
    assert trap.json("explain", "a.jpg")["metadata"] == {"temp": None, "hum": None, "bat": 7}


def test_times_that_are_none_become_null():
    assert [reports.utc(seconds) for seconds in (None, 1e300, float("nan"), float("inf"))] == [None] * 4
    assert reports.utc(0.9) == "1970-01-01T00:00:00Z"


def test_an_outbox_cut_short_is_said_and_what_is_left_of_it_shown(trap, taken):
    # So many that the page which says where the first ones are isn't itself among the last.
    trap.record(*(taken(f"a/{n}.jpg", n) for n in range(3000)))
    os.truncate(trap.outbox, trap.outbox.stat().st_size // 2)
    for command in ("list", "status"):
        done = trap.run(command)
        assert done.returncode == 0
        assert done.stderr.count(b"is damaged: ") == 1
    shown = trap.run("list").stdout.decode().splitlines()
    assert 1000 < len(shown) < 2000
    counts = json.loads(trap.run("status", "--json").stdout)["counts"]
    assert counts["pending"] == len(shown)
    assert len(json.loads(trap.run("list", "--json").stdout)) == len(shown)
    assert trap.run("explain", "a/3.jpg").stdout.decode().startswith(f"{trap.images}/a/3.jpg: pending\n")
    gone = trap.run("explain", "a/2999.jpg")
    assert (gone.returncode, gone.stdout) == (0, b"")


def test_garbage_in_the_middle_of_an_outbox_costs_only_what_it_overwrote(trap, taken):
    trap.record(*(taken(f"a/{n}.jpg", n) for n in range(2000)))
    page = 4096
    damage(trap.outbox, trap.outbox.stat().st_size // page // 3 * page, 5 * page)
    done = trap.run("list")
    assert done.returncode == 0
    lines = done.stdout.decode().splitlines()
    assert 1500 < len(lines) < 2000
    assert len(set(lines)) == len(lines)
    assert b"is damaged" in done.stderr


@pytest.mark.parametrize("ruin", ["header", "text", "a foreign database"])
def test_an_outbox_that_is_no_outbox_is_said(trap, taken, ruin):
    trap.record(taken("a.jpg"))
    if ruin == "header":
        damage(trap.outbox, 0, 100, b"\0")
    elif ruin == "text":
        trap.outbox.write_text("hello" * 1000)
    else:
        import sqlite3

        trap.outbox.unlink()
        connection = sqlite3.connect(trap.outbox)
        connection.execute("CREATE TABLE recipes (name)")
        connection.close()
    for command in (["list"], ["status"], ["explain", "a.jpg"]):
        done = trap.run(*command)
        assert done.returncode == 0
        assert b"is damaged" in done.stderr
        assert b"Traceback" not in done.stderr
    assert json.loads(trap.run("list", "--json").stdout) == []


@pytest.mark.parametrize("spoilt", ["state = 'asleep'", "metadata = '{'", "datetime = CAST(x'ff' AS TEXT)"])
def test_a_row_with_impossible_values_is_passed_over(trap, taken, spoilt):
    trap.record(taken("a.jpg", 1), taken("b.jpg", 2), taken("c.jpg", 3))
    with trap.open() as outbox:
        outbox._connection.execute("PRAGMA ignore_check_constraints = ON")
        outbox._connection.execute(f"UPDATE pictures SET {spoilt} WHERE name = 'b.jpg'")
    done = trap.run("list")
    assert done.returncode == 0
    shown = done.stdout.decode()
    assert "a.jpg" in shown
    assert "c.jpg" in shown
    assert b"Traceback" not in done.stderr
    assert b"is damaged" in done.stderr


@pytest.mark.parametrize("spoilt", ["not_before = 'x'", "uploaded_at = 1e300", "metadata = '[]'", "attempts = 'x'"])
def test_an_impossible_value_that_hides_nothing_else_is_shown_as_it_is_or_as_null(trap, taken, spoilt):
    trap.record(taken("a.jpg"))
    with trap.open() as outbox:
        outbox._connection.execute(f"UPDATE pictures SET {spoilt}")
    done = trap.run("list", "--json")
    [picture] = json.loads(done.stdout)
    assert (done.returncode, picture["not_before"], picture["uploaded_at"]) == (0, None, None)
    assert trap.run("explain", "a.jpg").returncode == 0
    assert trap.run("status").returncode == 0


def test_damage_that_only_the_history_has_leaves_the_rest_of_the_story(trap, taken):
    trap.record(taken("a.jpg"))
    with trap.open() as outbox:
        outbox._connection.execute("UPDATE history SET state = 'asleep'")
    done = trap.run("explain", "a.jpg", "--json")
    assert done.returncode == 0
    assert b"is damaged" in done.stderr
    story = json.loads(done.stdout)
    assert (story["state"], story["history"]) == ("pending", [])


def test_a_long_list_is_given_one_picture_at_a_time(trap, taken):
    trap.record(*(taken(f"{n}.jpg", n) for n in range(50)))
    warned = []
    with reports.open_state(str(trap.state), warned.append) as reader:
        found = reports.pictures(reader, (), warned.append)
        lines = tables.json_array(reports.picture_data(picture, "/x") for picture in found)
        assert next(lines) == "["
        assert json.loads(next(lines).rstrip(","))["path"] == "/x/0.jpg"
    lines.close()
    found.close()
    assert warned == []


def test_commands_read_beside_a_process_that_writes(trap, taken):
    trap.record(taken("a.jpg", 1))
    with trap.open() as outbox:
        outbox.record([taken("b.jpg", 2)])
        assert [picture["path"] for picture in trap.json("list")] == [f"{trap.images}/a.jpg", f"{trap.images}/b.jpg"]
        assert trap.json("status")["counts"]["pending"] == 2


def test_what_was_read_while_a_service_started_is_read_again(trap, taken):
    """Its changes must be neither missed nor taken for damage."""
    trap.record(*(taken(f"{n}.jpg", n) for n in range(500)))
    warned = []
    with (
        reports.open_state(str(trap.state), warned.append) as reader,
        reports.open_state(str(trap.state), warned.append) as another,
    ):
        listed = reports.pictures(reader, (), warned.append)
        first = next(listed).path
        with trap.open() as outbox:
            outbox.record([taken(f"{n}.jpg", n) for n in range(500, 3000)])
            with outbox.together():
                for number in range(1, 3000, 2):
                    outbox.lose(outbox.at(f"{number}.jpg"))
        # What it has changed is in the file itself now, beneath the reader.
        assert not Path(f"{trap.outbox}-wal").exists()
        assert reports.ask(another, OutboxReader.counts, warned.append, None) == dict.fromkeys(State, 0) | {
            State.PENDING: 1500,
            State.LOST: 1500,
        }
        assert sorted([first, *(picture.path for picture in listed)]) == sorted(f"{n}.jpg" for n in range(3000))
        assert not any(each.renew() for each in (reader, another))
    assert warned == []


def test_a_reader_leaves_the_state_folder_as_it_is(busy):
    before = {path.name: path.read_bytes() for path in busy.state.iterdir()}
    for command in (["status"], ["list"], ["explain", "notes.jpg"], ["check"]):
        assert busy.run(*command).returncode == 0
    assert {path.name: path.read_bytes() for path in busy.state.iterdir()} == before


def test_salvage_of_nothing_ends(tmp_path):
    ruin = tmp_path / "outbox.db"
    ruin.write_bytes(os.urandom(10000))
    with pytest.raises(OutboxDamagedError):
        OutboxReader.open_readonly(str(ruin))
    with OutboxReader.open_damaged(str(ruin)) as reader:
        assert list(reader.salvage()) == []


def test_salvage_of_a_table_that_is_gone_altogether_asks_but_a_few_times(trap, taken):
    trap.record(*(taken(f"{number}.jpg", number) for number in range(100)))
    with trap.open() as outbox:
        root = outbox._value("SELECT rootpage FROM sqlite_master WHERE name = 'pictures'")
        page = outbox._value("PRAGMA page_size")
    damage(trap.outbox, (root - 1) * page, page, b"\xff")
    with OutboxReader.open_damaged(str(trap.outbox)) as reader:
        asked = []
        reader._connection.set_trace_callback(asked.append)
        assert list(reader.salvage()) == []
    assert len(asked) < 500


def test_salvage_of_an_outbox_of_which_the_rest_is_gone_soon_gives_up(trap, taken):
    trap.record(*(taken(f"{number}.jpg", number) for number in range(3000)))
    os.truncate(trap.outbox, trap.outbox.stat().st_size // 2)
    with OutboxReader.open_damaged(str(trap.outbox)) as reader:
        asked = []
        reader._connection.set_trace_callback(asked.append)
        found = [picture.id for picture in reader.salvage()]
    assert found == list(range(1, len(found) + 1))
    assert 1000 < len(found) < 2000
    assert len(asked) < len(found) + 500


LEFT_BY_A_KILL = """
import os, sys
from sticky_pi_uploader.outbox import Outbox
Outbox(sys.argv[1], longest_wait=1800.0).note_done("something")
os._exit(0)
"""


def test_on_a_full_disk_what_lies_there_is_shown_with_a_warning(tmp_path, trap, taken):
    if (reason := reason_to_skip(tmp_path)) is not None:
        pytest.skip(reason)
    disk = FilledDisk(tmp_path)
    try:
        trap = type(trap)(disk.mount)
        trap.images.mkdir()
        trap.record(taken("a.jpg"))
        subprocess.run([sys.executable, "-c", LEFT_BY_A_KILL, trap.outbox], check=True)
        os.unlink(f"{trap.outbox}-shm")  # as after a power cut
        disk.fill()
        done = trap.run("list", cwd=tmp_path)
    finally:
        disk.close()
    assert (done.returncode, done.stdout.decode().split()[-1]) == (0, "a.jpg")
    assert done.stderr.decode() == (
        f"sticky-pi-uploader: no space left for the outbox {trap.outbox}: free some on that disk;"
        " what is shown may not be the latest\n"
    )


def test_a_folder_in_the_place_of_the_outbox_is_a_state_error(trap):
    trap.outbox.mkdir(parents=True)
    done = trap.run("status")
    assert done.returncode == 74
    assert str(trap.outbox).encode() in done.stderr
    with pytest.raises(StateError), reports.open_state(str(trap.state), print):
        pass


def test_the_outbox_lies_in_the_state_folder():
    assert outbox_path("/state") == "/state/outbox.db"


def test_last_changed_takes_the_story_with_the_latest_event():
    old, new, empty = ({"history": [{"at": at}] if at else []} for at in ("2020", "2021", None))
    assert explain.last_changed([old, new, empty]) is new


def test_a_disk_that_fills_is_an_alarm_where_room_is_to_be_made(trap, taken):
    trap.record(taken("a.jpg", 1))
    config = trap.folder / "config.toml"
    config.write_text('[retention]\nkeep_days = 30\nmin_free = "99.9 %"\n', encoding="ascii")
    line = trap.run("status", "--config", str(config)).stdout.decode().splitlines()[0]
    assert re.fullmatch(r"Attention: only .* are free, less than min_free; 1 picture to be sent\.", line)
    config.write_text('[retention]\nmin_free = "99.9 %"\n', encoding="ascii")
    assert trap.run("status", "--config", str(config)).stdout.startswith(b"Waiting: ")
