"""What the journal has of a trap: the records' fields, their explanations, and how many there are."""

import re

import pytest
from containers.trap import NAME, SERVICE
from sticky_pi_uploader.journal.events import Kind

TOLD = ("EVENT", "IMAGE", "PATH", "DEVICE", "DATETIME", "MD5", "STATE")
"""What there is to tell of any picture, as STICKY_PI_…"""

EXPLAINED = r" Subject: {} was {}\n.*? Nothing has to be done\.\n"
"""What `-x` puts below a line, behind a mark at the start of each"""


def of_picture(name):
    """Return what selects the records about a picture, as README has it."""
    return (f"--unit={SERVICE}", f"STICKY_PI_IMAGE={name}")


@pytest.fixture
def sent(trap, server):
    """The name of a picture that was sent."""
    trap.start()
    name = trap.take_picture()
    trap.wait_for("uploaded", name)
    return name


def test_an_ordinary_picture_has_two_lines_with_all_that_there_is_to_tell_of_it(trap, server, sent):
    records = trap.messages(STICKY_PI_IMAGE=sent)
    assert [record["MESSAGE"] for record in records] == [f"{sent}: taken in", f"{sent}: uploaded"]
    assert [record["MESSAGE_ID"] for record in records] == [Kind.TAKEN_IN.value, Kind.UPLOADED.value]
    device, when, _ = sent.split(".")
    (row,) = server.rows()
    for record, event, state in zip(records, ("taken_in", "uploaded"), ("pending", "uploaded"), strict=True):
        assert (record["PRIORITY"], record["SYSLOG_IDENTIFIER"]) == ("6", NAME)
        told = [record[f"STICKY_PI_{name}"] for name in TOLD]
        date, time = when.split("_")
        assert told == [event, sent, sent, device, f"{date}T{time.replace('-', ':')}Z", row.md5, state]
    assert records[1]["STICKY_PI_DESTINATION"] == server.url
    # And no others, but for those of the start.
    assert [record["STICKY_PI_EVENT"] for record in trap.messages()] == ["watching", "taken_in", "uploaded"]


def test_a_pictures_story_can_be_read_with_explanations(trap, sent):
    story = trap.machine.run("journalctl", "--no-pager", "-x", *of_picture(sent)).out
    for end in ("taken in", "uploaded"):
        assert re.search(EXPLAINED.format(re.escape(sent), end), story, flags=re.DOTALL)
    assert "@STICKY_PI" not in story


def test_the_catalog_has_an_entry_for_each_kind_of_event(trap):
    listed = trap.machine.run("journalctl", "--no-pager", "--list-catalog").out
    ours = {line.split(" ", 1)[0] for line in listed.splitlines() if f" {NAME}: " in line}
    assert ours == {kind.value for kind in Kind}


def test_what_needs_somebody_is_a_warning_that_says_why(trap, server):
    trap.start()
    name = trap.take_picture()
    file = trap.on_the_card(name)
    trap.wait_for("uploaded", name)
    cut = file.with_name("1b74105a.2020-07-06_00-00-00.jpg")
    cut.with_suffix(".jpg~").write_bytes(file.read_bytes()[:-100])
    cut.with_suffix(".jpg~").rename(cut)
    trap.wait_for("rejected", cut.name)
    (record,) = trap.messages(STICKY_PI_EVENT="rejected")
    assert (record["PRIORITY"], record["MESSAGE_ID"]) == ("4", Kind.REJECTED.value)
    assert record["STICKY_PI_IMAGE"] == cut.name
    assert record["STICKY_PI_REASON"] == "it is cut short: the end of the picture is missing"
    only = trap.machine.run(
        "journalctl", "--no-pager", "-u", NAME, "-p", "warning", "-o", "cat", of_picture(cut.name)[1]
    )
    assert only.out.strip() == record["MESSAGE"]


def test_a_server_that_is_away_is_told_of_once_however_many_pictures_wait(trap, server):
    server.stop()
    trap.start()
    waiting = [trap.take_picture() for _ in range(10)]
    trouble = trap.wait_for_message(server.url, STICKY_PI_EVENT="destination_trouble")
    assert (trouble["PRIORITY"], trouble["MESSAGE_ID"]) == ("4", Kind.DESTINATION_TROUBLE.value)
    trap.wait_for("pending", *waiting)
    told = [record["STICKY_PI_EVENT"] for record in trap.messages()]
    assert sorted(told) == ["destination_trouble", *["taken_in"] * len(waiting), "watching"]
