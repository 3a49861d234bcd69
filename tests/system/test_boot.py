"""Boots, in order and out of it: with a backlog, without a network, with a card that is late or can't be written."""

import pytest
from containers.trap import IMAGES, SERVICE, STORE

NOWHERE = "https://sticky-pi.invalid"


@pytest.fixture
def machine(own_trap):
    return own_trap.machine


@pytest.mark.parametrize("end", ["reboot", "power cut"])
def test_a_backlog_is_sent_after_the_next_boot_each_picture_once(own_trap, machine, start_server, end):
    own_trap.mount_card_at_boot()
    machine.boot()
    server = start_server(machine)
    own_trap.use_server(server)
    server.stop()
    own_trap.systemctl("restart", SERVICE)
    backlog = [own_trap.take_picture() for _ in range(10)]
    own_trap.wait_for("pending", *backlog)
    machine.poweroff() if end == "reboot" else machine.cut_power()
    machine.boot()
    server = start_server(machine, port=server.port)
    own_trap.wait_until(lambda: own_trap.show("ActiveState") == "active", "start the service")
    own_trap.wait_for("uploaded", *backlog)
    assert sorted(file.name for file in server.sent_files()) == sorted(backlog)


def test_without_a_network_and_with_the_clock_at_2000_it_takes_pictures_in(own_trap, machine):
    own_trap.mount_card_at_boot()
    own_trap.write("/etc/credstore/sticky-pi-uploader.api-password", "pollen\n", 0o600)
    own_trap.configure(NOWHERE, username="trap")
    (library,) = (machine.disk / "usr" / "lib").glob("*/faketime/libfaketimeMT.so.1")
    clock = f"LD_PRELOAD=/usr/lib/{library.parts[-3]}/faketime/{library.name}"
    fake = f'{clock} "FAKETIME=@2000-01-01 00:00:00" FAKETIME_DONT_FAKE_MONOTONIC=1 NO_FAKE_STAT=1'
    own_trap.write(f"/etc/systemd/system/{SERVICE}.d/clock.conf", f"[Service]\nEnvironment={fake}\n")
    machine.boot()
    own_trap.wait_until(lambda: own_trap.show("ActiveState") == "active", "start the service")
    name = own_trap.take_picture()
    own_trap.wait_for("pending", name)
    (picture,) = own_trap.list()
    assert picture["reason"] is None
    own_trap.wait_for_message("sticky-pi.invalid")


def assert_nothing_looks_like_a_failure(trap, *expected):
    """See that systemd warned of nothing, and that the service warned of what it waits for and `expected` alone."""
    assert trap.show("Result") == "success"
    assert trap.machine.journal("--boot", "_PID=1", f"UNIT={SERVICE}", "--priority=warning") == []
    warnings = [record["MESSAGE"] for record in trap.messages() if int(record["PRIORITY"]) < 6]
    assert [text for text in warnings if not any(part in text for part in ("waiting for it", *expected))] == []


def test_a_card_that_is_mounted_late_is_waited_for_without_holding_up_the_boot(own_trap, machine):
    own_trap.mount_card_at_boot(",noauto")
    own_trap.configure()
    waiting = own_trap.take_picture()
    machine.boot()
    text = f"the image folder {IMAGES} isn't mounted"
    own_trap.wait_until(lambda: text in own_trap.show("StatusText"), "say what it waits for")
    assert own_trap.show("ActiveState", "SubState") == ("active", "running")
    assert own_trap.below_the_card() == []
    machine.run("mount", IMAGES)
    own_trap.wait_until(lambda: STORE in own_trap.show("StatusText"), "begin its work")
    own_trap.wait_for("uploaded", waiting)
    assert own_trap.show("ActiveState", "NRestarts") == ("active", "1")
    assert len(own_trap.messages(text)) == 1
    assert own_trap.below_the_card() == []
    assert_nothing_looks_like_a_failure(own_trap)


def test_a_start_and_a_restart_return_though_there_is_no_folder_and_no_destination(own_trap, machine):
    machine.boot()
    own_trap.systemctl("disable", "--now", SERVICE)
    for command in (["enable", "--now", SERVICE], ["restart", SERVICE]):
        own_trap.systemctl(*command)
        assert own_trap.show("ActiveState", "SubState") == ("active", "running")
        assert "[api] url: not set" in own_trap.show("StatusText")
    own_trap.configure()
    text = f"the image folder {IMAGES} isn't there; waiting for it"
    own_trap.wait_until(lambda: own_trap.show("StatusText") == text, "wait for the folder")
    own_trap.systemctl("restart", SERVICE)
    assert own_trap.show("StatusText") == text
    waiting = own_trap.take_picture()
    own_trap.mount_card()
    own_trap.wait_until(lambda: STORE in own_trap.show("StatusText"), "begin its work")
    own_trap.wait_for("uploaded", waiting)
    assert_nothing_looks_like_a_failure(own_trap)


def test_another_card_is_taken_in_the_place_of_the_first(own_trap, machine):
    own_trap.configure()
    machine.boot()
    own_trap.mount_card()
    own_trap.systemctl("restart", SERVICE)
    first = own_trap.take_picture()
    own_trap.wait_for("uploaded", first)
    machine.run("umount", "--lazy", IMAGES)
    machine.run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", IMAGES)
    machine.run("cp", f"/srv/card/{first}", IMAGES)
    own_trap.wait_for("uploaded", first)
    assert_nothing_looks_like_a_failure(own_trap, "was replaced: starting over with what is there")


def test_a_card_that_can_only_be_read_is_waited_for_and_said_once(own_trap, machine):
    own_trap.mount_card_at_boot(",ro")
    own_trap.configure()
    waiting = own_trap.take_picture()
    machine.boot()
    own_trap.wait_until(lambda: "waiting for it" in own_trap.show("StatusText"), "say what it waits for")
    assert own_trap.show("ActiveState") == "active"
    machine.run("mount", "-o", "remount,bind,rw", IMAGES)
    own_trap.wait_until(lambda: STORE in own_trap.show("StatusText"), "begin its work")
    own_trap.wait_for("uploaded", waiting)
    assert len(own_trap.messages("waiting for it")) == 1
    assert_nothing_looks_like_a_failure(own_trap)
