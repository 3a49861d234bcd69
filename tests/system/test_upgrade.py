"""The upgrade of a trap that has the first release: with its drop-ins, and with the service or the timer at work."""

import json

import pytest
import removed_pictures
from containers import Trap
from containers.trap import CONFIGURATION, DRAIN, NAME, SERVICE, STATE, TIMER

ROWS = 26_000
"""Pictures of a year: a trap takes one every 20 minutes"""
USB = "/mnt/usb"
STORE = f"{USB}/sticky-pi-store"


@pytest.fixture
def first_trap(new_machine, first_package, make_trap_picture):
    """A trap with the first release, whose store is on another disk; it has sent two pictures now, and many before."""
    machine = new_machine()
    machine.boot()
    machine.run("apt-get", "install", "--yes", first_package)
    trap = Trap(machine, make_trap_picture)
    trap.mount_card()
    machine.run("install", "--directory", f"--owner={NAME}", STORE)
    for unit in (SERVICE, DRAIN):
        trap.drop_in_example("folders.conf", unit)
    trap.configure(f"file://{STORE}")
    trap.systemctl("restart", SERVICE)
    trap.wait_for("uploaded", trap.take_picture(), trap.take_picture())
    trap.systemctl("stop", SERVICE)
    machine.run("python3", removed_pictures.__file__, f"{STATE}/outbox.db", ROWS)
    yield trap
    machine.discard()


def tell(trap):
    """Return what an upgrade leaves as it is: configuration, drop-ins, names and inodes of stored pictures."""
    files = trap.machine.run("find", "/etc", "-path", f"*{NAME}*", "-type", "f", "-exec", "md5sum", "{}", "+").out
    stored = trap.machine.run("find", STORE, "-name", "*.jpg", "-printf", "%f %i\n").out
    return sorted(files.splitlines()), set(stored.splitlines())


def rows(trap):
    return {row["path"]: (row["state"], row["md5"], row["uploaded_at"], row["removed_at"]) for row in trap.list()}


@pytest.mark.parametrize(("on", "off"), [(SERVICE, TIMER), (TIMER, SERVICE)])
def test_a_trap_of_the_first_release_goes_on_with_the_new_one(first_trap, package, on, off):
    trap = first_trap
    trap.systemctl("disable", off)
    trap.systemctl("enable", "--now", on)
    before, (files, stored), version = rows(trap), tell(trap), trap.command("--version").out
    assert len(before) == ROWS + 2
    waiting = trap.take_picture()
    trap.machine.run("apt-get", "install", "--yes", package)
    assert trap.command("--version").out != version
    trap.wait_until(lambda: trap.show("ActiveState", "UnitFileState", unit=on) == ("active", "enabled"), "go on")
    if on == TIMER:
        trap.systemctl("start", DRAIN)
    trap.wait_for("uploaded", waiting)
    after, (files_after, stored_after) = rows(trap), tell(trap)
    # A picture that waited may have been sent by either release.
    assert {path: after[path] for path in before if not path.endswith(waiting)} == before
    assert files_after == files
    assert stored_after > stored
    assert len(stored_after) == 3
    units = json.loads(trap.systemctl("list-unit-files", f"{NAME}*", "--output=json").out)
    assert {unit["unit_file"] for unit in units if unit["state"] == "enabled"} == {on}
    assert trap.messages("carried over from") == []
    trap.systemctl("stop", TIMER, SERVICE)
    assert (trap.machine.disk / CONFIGURATION[1:]).read_text("utf-8").startswith("[api]")
