import json
import os
from pathlib import Path

import pytest
from filled_disk import FilledDisk
from power_cuts import reason_to_skip
from program import python
from sticky_pi_uploader.cli.commands.pictures.list import picture_data
from sticky_pi_uploader.cli.output.formatting import json_array
from sticky_pi_uploader.cli.state_reader import open_state
from sticky_pi_uploader.exceptions import OutboxDamagedError, StateError
from sticky_pi_uploader.models import State
from sticky_pi_uploader.outbox import OutboxReader, outbox_path


def damage(outbox, start, length, content=None):
    with open(outbox, "r+b") as file:
        file.seek(start)
        file.write(os.urandom(length) if content is None else content * length)


def test_with_no_state_yet_nothing_is_shown(trap):
    assert trap.run("list", "--json").stdout == b"[\n]\n"
    assert trap.run("explain", "a.jpg", "--json").stdout == b"null\n"
    assert set(json.loads(trap.run("status", "--json").stdout)["counts"].values()) == {0}
    for command in (["list"], ["explain", "a.jpg"], ["audit"], ["status"]):
        done = trap.run(*command)
        assert (done.returncode, done.stdout if command != ["status"] else b"") == (0, b"")
        (line,) = done.stderr.decode().splitlines()
        assert line.startswith(f"sticky-pi-uploader: no state in {trap.state}: ")
    assert not trap.state.exists()


def test_an_outbox_whose_tables_are_still_to_be_made_is_no_state_yet(trap):
    trap.state.mkdir()
    trap.outbox.touch()
    done = trap.run("list", "--json")
    assert json.loads(done.stdout) == []
    assert b"no state in" in done.stderr


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
        outbox.database.connection.execute("PRAGMA ignore_check_constraints = ON")
        outbox.database.connection.execute(f"UPDATE pictures SET {spoilt} WHERE name = 'b.jpg'")
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
        outbox.database.connection.execute(f"UPDATE pictures SET {spoilt}")
    done = trap.run("list", "--json")
    [picture] = json.loads(done.stdout)
    assert (done.returncode, picture["not_before"], picture["uploaded_at"]) == (0, None, None)
    assert trap.run("explain", "a.jpg").returncode == 0
    assert trap.run("status").returncode == 0


def test_a_long_list_is_given_one_picture_at_a_time(trap, taken):
    trap.record(*(taken(f"{n}.jpg", n) for n in range(50)))
    warned = []
    with open_state(str(trap.state), warned.append) as state:
        found = state.pictures()
        lines = json_array(picture_data(picture, "/x") for picture in found)
        assert next(lines) == "["
        assert json.loads(next(lines).rstrip(","))["path"] == "/x/0.jpg"
    lines.close()
    found.close()
    assert warned == []


def test_commands_read_beside_a_process_that_writes(trap, taken):
    trap.record(taken("a.jpg", 1))
    with trap.open() as outbox:
        outbox.catalog.record([taken("b.jpg", 2)])
        assert [picture["path"] for picture in trap.json("list")] == [f"{trap.images}/a.jpg", f"{trap.images}/b.jpg"]
        assert trap.json("status")["counts"]["pending"] == 2


def test_what_was_read_while_a_service_started_is_read_again(trap, taken):
    """Its changes must be neither missed nor taken for damage."""
    trap.record(*(taken(f"{n}.jpg", n) for n in range(500)))
    warned = []
    with (
        open_state(str(trap.state), warned.append) as state,
        open_state(str(trap.state), warned.append) as another,
    ):
        listed = state.pictures()
        first = next(listed).path
        with trap.open() as outbox:
            outbox.catalog.record([taken(f"{n}.jpg", n) for n in range(500, 3000)])
            with outbox.database.writing():
                for number in range(1, 3000, 2):
                    outbox.catalog.lose(outbox.at(f"{number}.jpg"))
        # What it has changed is in the file itself now, beneath the reader.
        assert not Path(f"{trap.outbox}-wal").exists()
        assert another.ask(OutboxReader.counts, None) == dict.fromkeys(State, 0) | {
            State.PENDING: 1500,
            State.LOST: 1500,
        }
        assert sorted([first, *(picture.path for picture in listed)]) == sorted(f"{n}.jpg" for n in range(3000))
        assert not any(each.outbox.renew() for each in (state, another))
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
        root = outbox.database.value("SELECT rootpage FROM sqlite_master WHERE name = 'pictures'")
        page = outbox.database.value("PRAGMA page_size")
    damage(trap.outbox, (root - 1) * page, page, b"\xff")
    with OutboxReader.open_damaged(str(trap.outbox)) as reader:
        asked = []
        reader.database.connection.set_trace_callback(asked.append)
        assert list(reader.salvage()) == []
    assert len(asked) < 500


def test_salvage_of_an_outbox_of_which_the_rest_is_gone_soon_gives_up(trap, taken):
    trap.record(*(taken(f"{number}.jpg", number) for number in range(3000)))
    os.truncate(trap.outbox, trap.outbox.stat().st_size // 2)
    with OutboxReader.open_damaged(str(trap.outbox)) as reader:
        asked = []
        reader.database.connection.set_trace_callback(asked.append)
        found = [picture.id for picture in reader.salvage()]
    assert found == list(range(1, len(found) + 1))
    assert 1000 < len(found) < 2000
    assert len(asked) < len(found) + 500


LEFT_BY_A_KILL = """
import os, sys
from sticky_pi_uploader.outbox import Outbox
Outbox(sys.argv[1], longest_wait=1800.0).recovery.note_done("something")
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
        python(LEFT_BY_A_KILL, trap.outbox, check=True)
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
    with pytest.raises(StateError), open_state(str(trap.state), print):
        pass


def test_the_outbox_lies_in_the_state_folder():
    assert outbox_path("/state") == "/state/outbox.db"
