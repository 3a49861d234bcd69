"""`audit` on traps whose pictures the real `drain` took in and sent to a real store."""

import json
import os
import resource
import shlex
import shutil
import sqlite3
import subprocess
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest


@pytest.fixture
def recently():
    """A time an hour and five minutes ago."""
    return (datetime.now(UTC) - timedelta(hours=1, minutes=5)).replace(tzinfo=None, microsecond=0)


@pytest.fixture
def sent(trap, recently, make_trap_picture):
    """A trap with four pictures, twenty minutes apart, the last one just taken: all uploaded."""
    for number in range(4):
        make_trap_picture(trap.images, when=recently + timedelta(minutes=20 * number))
    assert trap.run("drain").returncode == 0
    return trap


def files(trap):
    return sorted(trap.images.glob("*.jpg"))


def problems(report):
    return [(Path(each["path"]).name, each["what"]) for each in report["problems"]]


def test_all_adds_up_where_every_picture_is_on_the_card_and_at_the_destination(sent):
    report = sent.json("audit", "--verify", "--deep")
    assert (report["adds_up"], report["problems"]) == (True, [])
    assert (report["counts"]["uploaded"], report["counts"]["on_card"], report["read"]) == (4, 4, 4)
    assert report["verified"] == {"confirmed": 4}
    (camera,) = report["cameras"]
    assert (camera["pictures"], camera["interval"], camera["gaps"]) == (4, 1200.0, [])


def test_it_says_so_in_its_first_line_for_people(sent):
    done = sent.run("audit")
    assert (done.returncode, done.stdout.decode().splitlines()[0]) == (0, "All adds up: 4 pictures accounted for.")
    files(sent)[0].write_bytes(b"!")
    done = sent.run("audit")
    assert (done.returncode, done.stdout.decode().splitlines()[0]) == (
        1,
        "Attention: 1 thing doesn't add up; 4 pictures recorded.",
    )
    assert f"{files(sent)[0]}: its file changed since it was taken in: the next scan reads it" in done.stdout.decode()


def test_with_no_state_yet_it_shows_nothing(trap):
    done = trap.run("audit")
    assert (done.returncode, done.stdout) == (0, b"")
    assert trap.run("audit", "--json").stdout == b"null\n"


def test_a_picture_on_the_card_that_isnt_recorded_doesnt_add_up(sent, make_trap_picture, recently):
    path = make_trap_picture(sent.images, when=recently + timedelta(minutes=60, seconds=30))
    assert problems(sent.json("audit", status=1)) == [
        (path.name, "on the card, and not taken in: the next scan takes it in")
    ]


def test_one_whose_removal_was_broken_off_is_on_the_card(sent):
    file = files(sent)[0]
    file.rename(file.with_name(f".{file.name}.removing"))
    report = sent.json("audit", "--verify", "--deep")
    assert (report["adds_up"], report["problems"], report["counts"]["on_card"], report["read"]) == (True, [], 4, 4)


def test_one_that_cant_have_its_name_back_is_in_every_report_until_it_can(sent, make_trap_picture, recently):
    file = files(sent)[0]
    hidden, why = file.with_name(f".{file.name}.removing"), "another file has its name by now: move that one away"
    before = file.read_bytes()
    file.rename(hidden)
    file.write_bytes(files(sent)[0].read_bytes() + b"another")
    for _ in range(2):
        done = sent.run("drain")
        assert done.returncode == 75
        ((path, what),) = problems(sent.json("audit", status=1))
        assert (path, why in what) == (hidden.name, True)
        ((path, what),) = [tuple(each.values()) for each in sent.json("status")["left_over"]]
        assert (path, why in what) == (str(hidden), True)
    said = sent.run("status").stdout.decode().splitlines()
    assert said[0].startswith("Attention: ")
    assert [line for line in said if line.startswith(f"  {hidden}: ") and why in line]
    for name in (file.name, hidden.name, str(hidden)):
        assert f"{hidden.name}: its removal was broken off" in sent.run("explain", name).stdout.decode()
    file.rename(sent.folder / file.name)
    assert sent.run("drain").returncode == 0
    assert (file.read_bytes(), hidden.exists()) == (before, False)
    assert sent.json("audit")["adds_up"]
    assert sent.json("status")["left_over"] == []
    assert sent.json("explain", file.name)["left_over"] is None


def test_an_uploaded_picture_may_be_gone_from_the_card_but_not_one_that_is_to_be_sent(
    sent, make_trap_picture, recently
):
    files(sent)[0].unlink()
    report = sent.json("audit")
    assert (report["counts"]["on_card"], report["counts"]["gone_after_upload"]) == (3, 1)
    shutil.move(sent.store, sent.folder / "away")
    sent.store.write_text("in the way", encoding="ascii")
    path = make_trap_picture(sent.images, when=recently + timedelta(minutes=60, seconds=30))
    assert sent.run("drain", "--deadline", "2").returncode == 75
    path.unlink()
    assert problems(sent.json("audit", status=1)) == [
        (path.name, "pending, and its file isn't to be found on the card")
    ]


def test_bytes_that_changed_behind_an_unchanged_date_are_found_by_reading_them(sent):
    path = files(sent)[1]
    status = path.stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    with path.open("r+b") as file:
        file.write(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert sent.json("audit")["adds_up"]
    ((name, what),) = problems(sent.json("audit", "--deep", status=1))
    assert (name, what.partition(" (")[0]) == (path.name, "its bytes are no longer those taken in")


def test_a_picture_that_the_destination_lost_is_named_and_sent_again(sent):
    with sqlite3.connect(sent.store / "database.db") as database:
        database.execute("DELETE FROM images WHERE id = 1")
    database.close()
    assert sent.json("audit")["adds_up"]
    report = sent.json("audit", "--verify", status=1)
    assert report["verified"] == {"absent": 1, "confirmed": 3}
    assert [what for _, what in problems(report)] == ["uploaded, but the destination doesn't have it"]
    assert sent.json("status")["counts"]["pending"] == 1
    assert sent.run("drain").returncode == 0
    assert sent.json("audit", "--verify")["verified"] == {"confirmed": 4}


def test_findings_that_cant_be_recorded_are_reported_all_the_same(sent):
    """No file may grow any more; what the store needs beside its database is there, as another one has that open."""
    with closing(sqlite3.connect(sent.store / "database.db")) as database:
        with database:
            database.execute("DELETE FROM images WHERE id = 1")
        full = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))}
        done = sent.run("audit", "--verify", "--json", **full)
    assert problems(json.loads(done.stdout)) == [(files(sent)[3].name, "uploaded, but the destination doesn't have it")]
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("sticky-pi-uploader: the findings can't be recorded: ")
    assert str(sent.outbox) in line
    assert done.returncode == os.EX_IOERR
    assert sent.json("status")["counts"]["pending"] == 0


def test_findings_are_recorded_though_nobody_reads_the_report(sent):
    with sqlite3.connect(sent.store / "database.db") as database:
        database.execute("DELETE FROM images WHERE id = 1")
    database.close()
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = sent.run("audit", "--verify", capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert (done.returncode, b"the output can't be written" in done.stderr) == (os.EX_IOERR, True)
    assert sent.json("status")["counts"]["pending"] == 1


def test_a_stored_file_that_was_overwritten_is_found(sent):
    stored = next((sent.store / "raw_images").rglob("*.jpg"))
    stored.write_bytes(stored.read_bytes()[:-1] + b"!")
    report = sent.json("audit", "--verify", status=1)
    assert [what for _, what in problems(report)] == [
        "uploaded, but at the destination the stored file is missing, or isn't this picture"
    ]


def test_a_link_in_the_store_is_told(sent, tmp_path):
    (sent.store / "raw_images").rename(tmp_path / "elsewhere")
    (sent.store / "raw_images").symlink_to(tmp_path / "elsewhere")
    ((_, what),) = problems(sent.json("audit", "--verify", status=1))
    assert "raw_images in it is a link: move the whole store instead" in what


def overwrite(sent):
    stored = next((sent.store / "raw_images").rglob("*.jpg"))
    before = stored.read_bytes()
    stored.write_bytes(before[:-1] + b"!")
    return stored.name, "the stored file is missing, or isn't this picture", lambda: stored.write_bytes(before)


def remove_file(sent):
    stored = next((sent.store / "raw_images").rglob("*.jpg"))
    before = stored.read_bytes()
    stored.unlink()
    return stored.name, "the stored file is missing, or isn't this picture", lambda: stored.write_bytes(before)


def change_row(sent):
    def change(md5):
        with sqlite3.connect(sent.store / "database.db") as database:
            (before,) = database.execute("SELECT md5 FROM images WHERE id = 1").fetchone()
            database.execute("UPDATE images SET md5 = ? WHERE id = 1", (md5,))
        database.close()
        return before

    md5 = change("f" * 32)
    (name,) = [each["path"] for each in sent.json("list") if each["md5"] == md5]
    return Path(name).name, "the destination has another picture in its place", lambda: change(md5)


def lose_what_is_not_here_any_more(sent):
    copy = sent.folder / "copy.db"
    shutil.copyfile(sent.store / "database.db", copy)
    with sqlite3.connect(sent.store / "database.db") as database:
        (md5,) = database.execute("SELECT md5 FROM images WHERE id = 1").fetchone()
        database.execute("DELETE FROM images WHERE id = 1")
    database.close()
    (path,) = [Path(each["path"]) for each in sent.json("list") if each["md5"] == md5]
    path.unlink()
    return path.name, "the destination doesn't have it", lambda: shutil.copyfile(copy, sent.store / "database.db")


@pytest.mark.parametrize("harm", [overwrite, remove_file, change_row, lose_what_is_not_here_any_more])
def test_status_names_whose_copy_an_audit_found_missing_or_another_until_one_finds_it_right(sent, harm):
    name, what, mend = harm(sent)
    assert sent.json("status")["wrong_copies"] == []
    for _ in range(2):
        sent.json("audit", "--verify", status=1)
        (wrong,) = sent.json("status")["wrong_copies"]
        assert (Path(wrong["path"]).name, wrong["what"].endswith(what)) == (name, True)
        first, second, *_ = sent.run("status").stdout.decode().splitlines()
        assert (
            first == "Attention: the destination's copy of 1 picture is missing or another one; no picture to be sent."
        )
        assert (name in second, what in second) == (True, True)
    assert [event["why"].endswith(what) for event in sent.json("explain", name)["history"]].count(True) == 1
    mend()
    assert sent.json("audit")["adds_up"]
    assert len(sent.json("status")["wrong_copies"]) == 1
    sent.json("audit", "--verify")
    assert sent.json("status")["wrong_copies"] == []
    assert sent.run("status").stdout.decode().startswith("All is well")


def test_status_names_a_few_of_many_and_says_how_many_more_there_are(sent):
    for stored in (sent.store / "raw_images").rglob("*.jpg"):
        stored.unlink()
    with sent.open() as outbox:
        for number in range(4):
            (picture,) = outbox.named(files(sent)[number].name)
            for copy in "abc":
                outbox.recovery.adopt(picture._replace(path=f"{copy}/{picture.path}"), [], "as in a larger trap")
        for picture in outbox.pictures():
            outbox.retention.note_copy(picture, "it is missing")
    assert len(sent.json("status")["wrong_copies"]) == 16
    lines = sent.run("status").stdout.decode().splitlines()
    assert [line.endswith("it is missing") for line in lines].count(True) == 5
    (more,) = (line for line in lines if line.startswith("  and 11 pictures more: `"))
    assert more.endswith(f" {shlex.join(sent.flags)} status --json` names all")


def test_a_destination_that_cant_be_asked_doesnt_add_up(sent):
    shutil.move(sent.store, sent.folder / "away")
    sent.store.write_text("in the way", encoding="ascii")
    assert "the destination can't be asked" in problems(sent.json("audit", "--verify", status=1))[0][1]


def test_a_camera_that_stopped_is_noticed_and_gaps_are_shown(trap, make_trap_picture, recently):
    begins = recently - timedelta(days=2)
    for minutes in (0, 20, 40, 60, 180, 200):
        make_trap_picture(trap.images, when=begins + timedelta(minutes=minutes))
    trap.run("drain")
    report = trap.json("audit", status=1)
    ((_, what),) = problems(report)
    assert what.startswith("the camera 1b74105a has taken no picture since ")
    assert report["cameras"][0]["gaps"][0]["missing"] == 5
    assert report["cameras"][0]["gaps"][-1]["to"] is None
    text = trap.run("audit").stdout.decode()
    assert "Camera 1b74105a: 6 pictures, one every 20 minutes" in text
    assert "about 5 missing" in text


def test_of_two_cameras_only_the_newer_one_is_missed_when_it_stops(trap, make_trap_picture, recently):
    """An older one was exchanged; its last picture was taken after the newer one's first."""
    begins = recently - timedelta(days=3)
    for hours in range(6):
        make_trap_picture(trap.images, device="2b2b2b2b", when=begins + timedelta(hours=hours + 2))
        make_trap_picture(trap.images, device="1b74105a", when=begins + timedelta(hours=hours + 5))
        make_trap_picture(trap.images, device="1b74105a", when=begins + timedelta(hours=hours - 5))
        make_trap_picture(trap.images, device="3c3c3c3c", when=begins + timedelta(hours=hours + 3))
    trap.run("drain")
    report = trap.json("audit", status=1)
    assert [camera["device"] for camera in report["cameras"]] == ["1b74105a", "2b2b2b2b", "3c3c3c3c"]
    assert all(camera["gaps"][-1]["to"] is None for camera in report["cameras"])
    ((_, what),) = problems(report)
    assert what.startswith("the camera 1b74105a has taken no picture since ")


def test_a_camera_that_was_silent_for_weeks_has_ended_and_owes_nothing(trap, make_trap_picture, recently):
    for days in (200, 100, 15):
        for number in range(3):
            when = recently - timedelta(days=days) + timedelta(minutes=20 * number)
            make_trap_picture(trap.images, device="2b2b2b2b" if days == 200 else "1b74105a", when=when)
    trap.run("drain")
    report = trap.json("audit")
    new, old = report["cameras"]
    ends = [gap["to"] for gap in new["gaps"]]
    assert [gap["missing"] for gap in (*new["gaps"], *old["gaps"])] == [None, None, None]
    assert (ends[0] is None, ends[1], old["gaps"][0]["from"]) == (False, None, old["last"])
    text = trap.run("audit").stdout.decode()
    assert text.startswith("All adds up: 9 pictures accounted for.")
    assert text.count("it ended with its picture of ") == 3
    assert text.count("; the next is of ") == 1
    assert "missing" not in text


def test_a_camera_with_too_few_pictures_to_know_its_interval_has_ended_too(trap, make_trap_picture, recently):
    make_trap_picture(trap.images, when=recently - timedelta(days=15))
    trap.run("drain")
    [camera] = trap.json("audit")["cameras"]
    assert (camera["interval"], camera["gaps"]) == (None, [{"from": camera["last"], "to": None, "missing": None}])


def test_folders_that_cannot_be_read_are_no_trouble_and_only_lost_and_found_needs_no_word(sent):
    if os.geteuid() != 0:
        pytest.skip("needs root, to give its rights up")
    for folder in (sent.folder.parent.parent, sent.folder.parent, sent.folder):
        os.chmod(folder, 0o755)
    for folder in ("lost+found", "closed", "open"):
        (sent.images / folder).mkdir(mode=0o700 if folder != "open" else 0o755)
    for path in (sent.state, *sent.state.rglob("*"), sent.images):
        os.chown(path, 65534, 65534)
    done = sent.run("audit")
    assert (done.returncode, done.stdout.decode().splitlines()[0]) == (0, "All adds up: 4 pictures accounted for.")
    assert done.stderr.decode().splitlines() == [
        "closed can't be read, so no picture there is seen: Permission denied",
        "sticky-pi-uploader: this was done as the user 65534 (nobody), whose state folder it is",
    ]


def test_a_picture_in_lost_and_found_that_can_be_read_is_one_as_anywhere(sent, make_trap_picture, recently):
    (sent.images / "lost+found").mkdir()
    make_trap_picture(sent.images / "lost+found", when=recently + timedelta(minutes=80))
    assert "on the card, and not taken in" in problems(sent.json("audit", status=1))[0][1]
    assert sent.run("drain").returncode == 0
    assert sent.json("audit")["counts"]["uploaded"] == 5


def test_with_no_picture_recorded_all_adds_up(trap):
    assert trap.run("drain").returncode == 0
    report = trap.json("audit")
    assert (report["adds_up"], report["cameras"]) == (True, [])


def test_the_configured_interval_counts_more_than_the_one_learnt(sent):
    config = sent.folder / "config.toml"
    config.write_text("picture_interval = 300\n", encoding="ascii")
    (camera,) = sent.json("audit", "--config", str(config))["cameras"]
    assert camera["interval"] == 300
    assert len([gap for gap in camera["gaps"] if gap["to"]]) == 3


def test_a_damaged_outbox_is_said_and_doesnt_add_up(sent):
    with open(sent.outbox, "r+b") as file:
        file.seek(4096)
        file.write(b"\0" * 8192)
    for more in ("-wal", "-shm"):
        Path(f"{sent.outbox}{more}").unlink(missing_ok=True)
    done = sent.run("audit")
    assert done.returncode == 1
    assert b"damaged" in done.stderr


def test_an_image_folder_that_isnt_there_doesnt_add_up(sent):
    shutil.move(sent.images, sent.folder / "elsewhere")
    assert "isn't there" in problems(sent.json("audit", status=1))[0][1]
