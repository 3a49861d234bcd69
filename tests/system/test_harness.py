"""The machines that the other tests here boot."""

import os
from pathlib import Path

import pytest
from containers.needs import unified_hierarchy


@pytest.fixture
def machine(new_machine):
    machine = new_machine()
    yield machine
    machine.discard()


def test_a_machine_boots_with_everything_in_order(machine):
    machine.boot()
    assert machine.run("systemctl", "is-system-running", "--wait").out == "running\n"
    assert machine.show("init.scope", "ActiveState", "SubState") == ("active", "running")


def test_a_units_output_and_end_are_in_its_journal_also_after_a_reboot(machine):
    unit = "[Service]\nType=oneshot\nExecStart=echo hello\n"
    (machine.disk / "etc" / "systemd" / "system" / "greeter.service").write_text(unit, encoding="utf-8")
    machine.boot()
    machine.run("systemctl", "start", "greeter")
    machine.reboot()
    (record,) = machine.journal("--boot=-1", "SYSLOG_IDENTIFIER=echo")
    assert (record["MESSAGE"], record["_SYSTEMD_UNIT"], record["PRIORITY"]) == ("hello", "greeter.service", "6")


def test_disk_and_card_survive_a_power_cut_and_a_disk_made_from_another_leaves_that_alone(machine, new_machine):
    machine.boot()
    machine.run("sh", "-c", "echo kept >/root/file; echo kept >/srv/card/file")
    machine.cut_power()
    machine.boot()
    assert machine.run("cat", "/root/file", "/srv/card/file").out == "kept\nkept\n"
    machine.poweroff()
    machine.freeze()
    second, third = new_machine(machine), new_machine(machine)
    (second.disk / "root" / "file").write_text("changed", encoding="utf-8")
    assert (third.disk / "root" / "file").read_text(encoding="utf-8") == "kept\n"


def test_nothing_of_a_machine_is_seen_outside_or_left_of_it(machine, workshop):
    machine.boot()
    assert str(workshop.folder) not in Path("/proc/mounts").read_text(encoding="utf-8")
    assert os.listdir(workshop.folder) == []
    machine.poweroff()
    assert [name for name in os.listdir(unified_hierarchy()) if machine.name in name] == []
