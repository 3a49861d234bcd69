"""The program as pip installs it: `install-service` makes a service of it, as README says."""

import subprocess
import sys
from pathlib import Path

import pytest
from containers import Trap
from containers.trap import CONFIGURATION, NAME, SERVICE
from sticky_pi_uploader.journal.events import Kind

PROJECT = Path(__file__).resolve().parents[2]
PROGRAM = f"/opt/{NAME}/bin/{NAME}"

START = f"""\
#!/usr/bin/python3 -I
import sys

sys.path.insert(0, "/opt/{NAME}/lib")
from sticky_pi_uploader.__main__ import start

sys.exit(start())
"""


UNPACK = """\
import shutil, sys
from pathlib import Path

project, folder = map(Path, sys.argv[1:])
sys.path[:0] = [str(project / "systemd" / "deb"), str(project / "daemon")]
from package import wheel_files

shutil.copytree(project / "daemon", folder, ignore=shutil.ignore_patterns("__pycache__"))
for file in wheel_files(project):
    path = folder / "sticky_pi_uploader" / "share" / file.path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(file.content)
"""


@pytest.fixture(scope="session")
def unpacked_wheel(packages):
    """The files of a wheel, which are compared with a real one elsewhere, in a folder that the machines see."""
    folder = packages / "wheel"
    command = [sys.executable, "-B", "-c", UNPACK, PROJECT, folder]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return folder


def test_a_wheel_becomes_a_service_that_sends(bare_machine, unpacked_wheel, make_trap_picture):
    machine = bare_machine
    machine.run("mkdir", "-p", f"/opt/{NAME}/bin")
    # There is no pip on the machine, and no network: the same files at the same places.
    machine.run("cp", "-r", "--no-preserve=all", unpacked_wheel, f"/opt/{NAME}/lib")
    (machine.disk / PROGRAM[1:]).write_text(START, encoding="utf-8")
    machine.run("chmod", "755", PROGRAM)
    said = machine.run(PROGRAM, "install-service").out
    assert f"wrote {CONFIGURATION}\n" in said
    assert said.endswith(f"Next: set url in {CONFIGURATION}, then: sudo systemctl enable --now {NAME}\n")
    assert machine.run("id", "-un", NAME).out == f"{NAME}\n"
    trap = Trap(machine, make_trap_picture)
    trap.mount_card()
    assert trap.show("ActiveState", "UnitFileState") == ("inactive", "disabled")
    trap.configure()
    trap.systemctl("enable", "--now", SERVICE)
    trap.wait_until(lambda: trap.show("ActiveState") == "active", "begin")
    name = trap.take_picture()
    listed = (f"/usr/local/bin/{NAME}", "list", "--state", "uploaded")
    trap.wait_until(lambda: name in machine.run(*listed).out, "send the picture")
    assert Kind.WATCHING.value in machine.run("journalctl", "--list-catalog").out
    again = machine.run(PROGRAM, "install-service").out
    assert f"kept, as it is yours: {CONFIGURATION}\n" in again
    assert again.endswith(f"Next: sudo systemctl restart {NAME}\n")
