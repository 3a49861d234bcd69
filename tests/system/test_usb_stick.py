"""A store on a USB stick, as README has it: from plugging it in to its first picture, and taken away and back."""

import pytest
from containers.trap import CONFIGURATION, EXAMPLES, SERVICE
from readme_blocks import of_section

FOUND, MOUNTED, STARTED, TAKEN_AWAY, BACK = of_section("A store on a USB stick")
STICK = "LABEL=sticky-pi /mnt/usb ext4 noatime,nofail 0 2"
STANDS_IN = "tmpfs /mnt/usb tmpfs noatime,nofail 0 0"
"""A machine here has no stick. A disk in memory loses its files when it is unmounted: they are carried over"""


@pytest.fixture
def type_in_clone(trap, type_in):
    """Run lines as root in a clone of this repository."""
    clone, before = "/root/clone", (trap.machine.disk / "etc/fstab").read_text("utf-8")
    trap.write(f"{clone}/systemd/drop-ins/folders.conf", (EXAMPLES / "folders.conf").read_text("utf-8"))
    yield lambda lines: type_in(f"cd {clone}\n{lines}")
    trap.systemctl("stop", SERVICE)
    trap.machine.run("umount", "/mnt/usb", check=False)
    trap.machine.run("rm", "-r", f"/etc/systemd/system/{SERVICE}.d", "/mnt/usb", clone)
    trap.write("/etc/fstab", before)


def test_a_store_on_a_stick_has_the_first_picture_within_a_minute_and_goes_on_after_it_was_away(trap, type_in_clone):
    assert "mkfs.ext4 -L sticky-pi" in FOUND
    trap.mount_card()
    type_in_clone(MOUNTED.replace(STICK, STANDS_IN))
    trap.write(CONFIGURATION, '[api]\nurl = "file:///mnt/usb/sticky-pi-store"\n')
    first = trap.take_picture()
    # The glob at its end finds nothing before the first picture.
    restart, status, look = STARTED.splitlines()
    type_in_clone(restart)
    trap.wait_for("uploaded", first)
    assert first in type_in_clone(f"{status}\n{look}").out
    type_in_clone(f"cp -a /mnt/usb/sticky-pi-store /root/clone\n{TAKEN_AWAY}")
    second = trap.take_picture()
    assert trap.states() == {first: "uploaded"}
    mount, start = BACK.splitlines()
    type_in_clone(f"{mount}\ncp -a /root/clone/sticky-pi-store /mnt/usb\n{start}")
    trap.wait_for("uploaded", second)
    assert second in type_in_clone(look).out
