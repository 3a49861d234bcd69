"""What commands do that root runs on another user's state folder."""

import os
import stat
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest
from api_server import ApiServer
from program import python

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")

SERVICE = 65000
"""A user that the system doesn't know by name"""

FIRST = datetime(2020, 6, 20, 21, 33)  # noqa: DTZ001  # UTC, as in the file names
NAME = "5c173ff2.2020-06-20_21-33-00.jpg"

UNREADABLE = """if True:
    import os, sys

    class Nothing:
        def find_spec(self, name, *_):
            raise ModuleNotFoundError(f"{name} can't be read any more", name=name)

    def given_up(*ids):
        really(*ids)
        sys.meta_path[:] = [Nothing()]

    really, os.setresuid = os.setresuid, given_up
    from sticky_pi_uploader.cli.main import main
    status = main(sys.argv[1:])
    print(f"as {os.getresuid()} {os.getresgid()} {os.getgroups()}", file=sys.stderr)
    sys.exit(status)
    """
"""Runs the command where its user can read none of its modules, as in a virtual environment below /root"""


@pytest.fixture
def trap(open_trap, make_trap_picture):
    """A trap whose pictures are root's and whose state is the service's."""
    for each in (open_trap.state, open_trap.store):
        each.mkdir()
        os.chown(each, SERVICE, SERVICE)
    make_trap_picture(open_trap.images, "5c173ff2", FIRST)
    return open_trap


@pytest.fixture
def victim(tmp_path):
    """A file of root's, and what is in it."""
    victim = tmp_path / "victim"
    victim.write_text("root's own")
    yield victim
    assert victim.read_text() == "root's own"
    assert victim.stat().st_uid == 0


def owners(folder):
    return {path.lstat().st_uid for path in (folder, *folder.rglob("*"))}


def as_service(command, *arguments):
    return subprocess.run([command, *map(str, arguments)], user=SERVICE, group=SERVICE, extra_groups=[], check=True)


def run(trap, *arguments, flags=()):
    return python(UNREADABLE, *trap.flags, *flags, *arguments, cwd="/")


COMMANDS = (
    ("drain",),
    ("status",),
    ("list", "--json"),
    ("explain", NAME),
    ("retry", "--all"),
    ("audit",),
    ("audit", "--verify", "--deep"),
    ("check",),
)


def test_every_command_works_as_that_user_alone_and_needs_nothing_more_of_root(trap):
    for command in COMMANDS:
        done = run(trap, *command)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        assert f"as {(SERVICE,) * 3} {(SERVICE,) * 3} []" in done.stderr, command
        assert owners(trap.state) == owners(trap.store) == {SERVICE}
    assert "uploaded" in run(trap, "list").stdout


def test_commands_that_would_work_as_the_service_say_as_whom_they_work_without_one(trap):
    said = f"the user {SERVICE}, whose state folder it is"
    for command in COMMANDS:
        done = run(trap, *command)
        place = {"check": done.stdout, "drain": done.stderr, "retry": done.stderr, "audit": done.stderr}.get(command[0])
        assert done.stdout.count(said) + done.stderr.count(said) == (place is not None), command
        assert place is None or said in place, command


def test_the_same_goes_for_a_server_whose_password_only_root_can_read(trap, tmp_path):
    with ApiServer(tmp_path / "server", generation=2023) as server:
        secret = tmp_path / "password"
        secret.write_text("pollen")
        secret.chmod(0o600)
        flags = ["--api-url", server.url, "--username", "trap", "--password-file", str(secret)]
        for command in COMMANDS:
            done = run(trap, *command, flags=flags)
            assert done.returncode == 0, (command, done.stdout, done.stderr)
            assert f"as {(SERVICE,) * 3}" in done.stderr, command
    assert owners(trap.state) == {SERVICE}


@pytest.mark.parametrize("kind", ["link to a file", "link to nothing", "pipe"])
@pytest.mark.parametrize(
    "name", ["lock", "outbox.db", "outbox.db-wal", "outbox.db-shm", "reserve", ".sticky-pi-uploader-state"]
)
def test_what_the_service_puts_in_a_files_place_leads_root_nowhere_and_holds_nothing_up(trap, victim, name, kind):
    nothing = victim.with_name("made")
    for command in (("status", "--json"), ("list",), ("audit", "--verify"), ("drain", "--deadline", "20")):
        (trap.state / name).unlink(missing_ok=True)
        if kind == "pipe":
            as_service("mkfifo", trap.state / name)
        else:
            as_service("ln", "-s", victim if kind == "link to a file" else nothing, trap.state / name)
        done = run(trap, *command)
        assert done.returncode in (0, 1, 74), (command, done.stderr)
        assert "an error of its own" not in done.stderr
        assert not nothing.exists()
    assert done.returncode == 0, done.stderr
    assert owners(trap.state) == {SERVICE}


@pytest.mark.parametrize("name", ["thumbnails", "store"])
def test_nothing_is_made_in_a_folder_that_the_service_lets_a_link_lead_to(trap, tmp_path, name):
    outside = tmp_path / "root's"
    outside.mkdir()
    as_service("ln", "-s", outside, trap.state / name)
    done = run(trap, "drain", "--deadline", "5", flags=["--api-url", f"file://{trap.state}/store"])
    assert done.returncode == (0 if name == "thumbnails" else 75), done.stderr
    assert list(outside.iterdir()) == []


def test_a_state_folder_that_is_a_link_below_the_image_folder_is_named_and_not_followed(trap, tmp_path):
    os.chown(trap.images, SERVICE, SERVICE)
    outside = tmp_path / "root's"
    outside.mkdir()
    link = trap.images / ".sticky-pi-uploader"
    as_service("ln", "-s", outside, link)
    for command in COMMANDS:
        done = run(trap, *command, flags=["--state-dir", str(link)])
        assert done.returncode == (1 if command == ("check",) else 74), (command, done.stderr)
        assert f"{link} is a link, which root doesn't follow there" in done.stdout + done.stderr
        assert list(outside.iterdir()) == []


def test_a_link_that_root_made_in_a_folder_of_its_own_stays_good(trap):
    link = trap.folder / "link"
    link.symlink_to(trap.state)
    done = run(trap, "drain", flags=["--state-dir", str(link)])
    assert done.returncode == 0, done.stderr
    assert f"as {(SERVICE,) * 3}" in done.stderr
    assert (trap.state / "outbox.db").exists()


def test_root_stays_root_where_the_state_folder_is_its_own_or_is_not_there_yet(trap):
    trap.state.rmdir()
    trap.store.rmdir()
    for command in ("status", "drain", "drain", "status"):
        done = run(trap, command)
        assert done.returncode == 0, done.stderr
        assert f"as {(0,) * 3} {(0,) * 3}" in done.stderr
    assert owners(trap.state) == {0}


def test_that_pictures_can_not_be_removed_as_that_user_is_said(trap, tmp_path):
    config = tmp_path / "config.toml"
    config.write_text("[retention]\nkeep_days = 30\n")
    line = (
        f"WARNING no picture is removed: the user {SERVICE}, whose state folder it is and as whom this works, "
        f"can't write in {trap.images}\n"
    )
    assert line in run(trap, "drain", flags=["--config", str(config)]).stderr
    assert line not in run(trap, "drain").stderr
    os.chown(trap.images, SERVICE, SERVICE)
    assert line not in run(trap, "drain", flags=["--config", str(config)]).stderr


def test_what_that_user_may_not_is_told_as_that_and_sudo_is_not_advised(trap):
    trap.images.chmod(0o700)
    done = run(trap, "drain")
    assert done.returncode == 74
    assert f"{trap.images} can't be locked: permission denied for the user {SERVICE}, whose state folder" in done.stderr
    assert "sudo" not in done.stderr


def test_the_service_that_root_starts_by_hand_works_as_that_user(trap):
    command = [sys.executable, "-m", "sticky_pi_uploader", *trap.flags, "run"]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            while ": uploaded" not in (line := process.stderr.readline()):
                assert line
            status = Path(f"/proc/{process.pid}/task").iterdir()
            uids = {(thread / "status").read_text().partition("Uid:\t")[2].split("\n")[0] for thread in status}
            assert uids == {"\t".join([str(SERVICE)] * 4)}
        finally:
            process.terminate()
        assert process.wait(20) == 0
    assert owners(trap.state) == {SERVICE}


def test_the_demo_is_made_as_the_user_in_whose_folder_it_is_to_lie(trap, victim):
    home = trap.folder / "home"
    home.mkdir()
    os.chown(home, SERVICE, SERVICE)
    assert run(trap, "demo", str(home / "demo"), flags=()).returncode == 0
    assert owners(home) == {SERVICE}
    (home / "demo" / "config.toml").unlink()
    as_service("ln", "-s", victim, home / "demo" / "config.toml")
    assert run(trap, "demo", str(home / "demo")).returncode == 74


def test_what_another_user_left_in_the_state_folder_is_taken_over_and_goes_on(trap):
    """Root's of an earlier release, or those of a service that had another number before the system was made anew."""
    assert run(trap, "drain").returncode == 0
    for path in (trap.state, *trap.state.rglob("*")):
        os.chown(path, 0 if path == trap.state / "lock" else 65001, 65001)
    for name in ("outbox.db-wal", "outbox.db-shm"):
        (trap.state / name).touch(exist_ok=True)
    os.chown(trap.state, SERVICE, SERVICE)
    trap.images.joinpath(NAME).rename(trap.images / NAME.replace("33-00", "34-00"))
    done = run(trap, "drain")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("was in the way") == 1
    (aside,) = trap.state.glob("thumbnails.misfit-*")
    assert aside.is_dir()
    pictures = run(trap, "list").stdout
    assert pictures.startswith("uploaded  2020-06-20T21:33:00Z")
    assert stat.S_IMODE((trap.state / "outbox.db").stat().st_mode) == 0o644


def test_a_root_that_may_become_nobody_else_says_so_and_touches_nothing(trap):
    command = ["setpriv", "--bounding-set", "-setuid", sys.executable, "-m", "sticky_pi_uploader", *trap.flags, "drain"]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False)
    assert done.returncode == 74
    assert f"can't be used as the user {SERVICE}, whose it is: Operation not permitted" in done.stderr
    assert list(trap.state.iterdir()) == []
