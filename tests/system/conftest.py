"""Debian machines that boot, with the package installed, for the tests of a trap as a whole."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import old_release
import pytest
import sticky_pi_uploader
from api_server import ApiServer
from containers import RELEASES, Machine, Trap, Workshop, make_root_file_systems, reason_to_skip
from containers.trap import ENCRYPTED, KEY, SERVICE

PROJECT = Path(__file__).resolve().parents[2]
SUPPORT = PROJECT / "tests" / "support"
SOURCE = Path(sticky_pi_uploader.__file__).parents[1]
SOURCES = ("config", "daemon", "systemd", "LICENSE", "README.md", "pyproject.toml")
"""What a package is built from"""

NEXT = "99.0"
"""The version of the build that is upgraded to"""

NEXT_STEP = """
MIGRATIONS = (*MIGRATIONS, lambda database: database.execute("ALTER TABLE pictures ADD COLUMN upgraded INTEGER"))
"""
"""What its outbox has, and this one hasn't yet"""


STANDING_IN = {"sudo": 'exec "$@"', "systemd-ask-password": "printf pollen"}
"""For commands that aren't there, or ask somebody who isn't"""


def pytest_collection_modifyitems(items):
    """Leave each `case` of a test to one release: there are many, and each takes seconds."""
    items[:] = [item for item in items if _is_for_its_release(getattr(item, "callspec", None))]


def _is_for_its_release(call):
    if call is None or not {"case", "release"} <= set(call.params):
        return True
    return len(call.params["case"].__name__) % len(RELEASES) == RELEASES.index(call.params["release"])


@pytest.fixture(scope="session")
def workshop(tmp_path_factory):
    """Where the machines are; without what they need, every test is skipped here."""
    if reason := reason_to_skip():
        pytest.skip(reason)
    with Workshop(tmp_path_factory.mktemp("workshop")) as workshop:
        yield workshop


@pytest.fixture(scope="session")
def root_file_systems(workshop):
    for _ in range(2):
        try:
            return make_root_file_systems()
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            why = error
    pytest.skip(f"Debian's mirror gave no root file systems: {why}")


@pytest.fixture(scope="session", params=RELEASES)
def release(request):
    return request.param


@pytest.fixture(scope="session")
def packages(tmp_path_factory):
    """A folder that the machines see under the same name, to share files with them."""
    return tmp_path_factory.mktemp("packages")


@pytest.fixture(scope="session")
def package(packages):
    """The Debian package of this source."""
    return _build(PROJECT, packages)


@pytest.fixture(scope="session")
def first_package(packages, tmp_path_factory):
    """The Debian package of the release that the first traps had."""
    return _build(old_release.unpack(tmp_path_factory.mktemp("first")), packages)


@pytest.fixture(scope="session")
def next_package(packages, tmp_path_factory):
    """The Debian package of the same source under a later version, with one more step in the outbox's schema."""
    source = tmp_path_factory.mktemp("next")
    for name in SOURCES:
        copy = shutil.copytree if (PROJECT / name).is_dir() else shutil.copy
        copy(PROJECT / name, source / name)
    about = source / "pyproject.toml"
    before = about.read_text(encoding="utf-8")
    lines = [f'version = "{NEXT}"' if line.startswith("version = ") else line for line in before.splitlines()]
    about.write_text("\n".join([*lines, ""]), encoding="utf-8")
    with open(source / "daemon" / "sticky_pi_uploader" / "outbox" / "schema.py", "a", encoding="utf-8") as schema:
        schema.write(NEXT_STEP)
    return SimpleNamespace(file=_build(source, packages), version=NEXT)


def _build(source, folder):
    build = [sys.executable, source / "systemd" / "build-deb", folder]
    # The commit's time isn't asked for: a copy has no commits.
    environment = os.environ | {"SOURCE_DATE_EPOCH": "1600000000"}
    done = subprocess.run(build, capture_output=True, text=True, check=False, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


@pytest.fixture(scope="session")
def new_machine(workshop, root_file_systems, release, packages):
    """Make a machine, that is off, with Debian's libraries on its disk, or what another machine has there."""
    binds = [f"--bind={packages}", f"--bind-ro={SUPPORT}", f"--bind-ro={SOURCE}"]
    machines = []

    def make(below=None):
        machines.append(Machine(workshop, release, below or root_file_systems[release], binds))
        return machines[-1]

    yield make
    for machine in machines:
        machine.cut_power()


@pytest.fixture
def bare_machine(new_machine):
    """A booted machine without the package."""
    machine = new_machine()
    machine.boot()
    yield machine
    machine.discard()


@pytest.fixture(scope="session")
def installed(new_machine, package):
    """A machine whose disk has the package installed; it is off."""
    machine = new_machine()
    machine.boot()
    machine.run("apt-get", "install", "--yes", package)
    machine.poweroff()
    machine.freeze()
    return machine


@pytest.fixture(scope="session")
def running(new_machine, installed):
    """A booted machine with the package, for many tests; its service is stopped."""
    machine = new_machine(installed)
    machine.boot()
    machine.run("systemctl", "stop", SERVICE)
    return machine


@pytest.fixture
def trap(running, make_trap_picture):
    """A trap with an empty card, where nothing has happened yet; its service is not running."""
    trap = Trap(running, make_trap_picture)
    trap.mount_card()
    trap.forget_messages()
    yield trap
    trap.reset()


@pytest.fixture
def own_trap(new_machine, installed, make_trap_picture):
    """A trap of a test's own, to do anything to; it is off, and its card isn't mounted."""
    machine = new_machine(installed)
    yield Trap(machine, make_trap_picture)
    machine.discard()


@pytest.fixture
def start_server(packages):
    """Start a reference server on a booted machine; the options are those of `ApiServer`."""
    servers = []

    def start(machine, **options):
        # Not by the test's name: a later test may get the same once this one's folder is gone.
        data = Path(tempfile.mkdtemp(dir=packages))
        python = machine.command("env", f"PYTHONPATH={SUPPORT}:{SOURCE}", "python3")
        servers.append(ApiServer(data, python=python, **options))
        servers[-1].start()
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def server(trap, start_server):
    """A reference server on the trap, which is configured to send there."""
    server = start_server(trap.machine)
    trap.use_server(server)
    return server


@pytest.fixture
def type_in(trap):
    """Run lines of a text for people, as root."""
    for name, script in STANDING_IN.items():
        trap.write(f"/usr/local/sbin/{name}", f"#!/bin/sh\n{script}\n", 0o755)
    yield lambda lines: trap.machine.run("env", "PATH=/usr/local/sbin:/usr/sbin:/usr/bin", "sh", "-euc", lines)
    for path in (*(f"/usr/local/sbin/{name}" for name in STANDING_IN), ENCRYPTED, KEY):
        (trap.machine.disk / path[1:]).unlink(missing_ok=True)
