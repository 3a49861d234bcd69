"""Root's commands, which run as the service does: with its user, credentials and limits, and little of the caller's."""

import json

import pytest
from containers.trap import CONFIGURATION, IMAGES, NAME, SERVICE, STATE

PROBE = """#!/usr/bin/python3
import json, os, signal, sys
signal.signal(signal.SIGINT, lambda *_: sys.exit(33))
of_terminal = [os.isatty(each) for each in range(3)], os.isatty(1) and os.get_terminal_size(1).columns
found = {"argv": sys.argv[1:], "cwd": os.getcwd(), "environ": dict(os.environ), "uid": os.geteuid(), "tty": of_terminal}
print(json.dumps(found), flush=True)
if sys.argv[1] == "audit":
    signal.pause()
sys.exit(int(sys.argv[-1]) if sys.argv[1] == "drain" else 0)
"""
"""Stands in the place of the service's program, and tells what it gets"""

ON_A_TERMINAL = """if True:
    import fcntl, json, os, pty, signal, struct, sys, termios
    do, command = sys.argv[1], sys.argv[2:]
    pid, terminal = pty.fork()
    if pid == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("4H", 50, 123, 0, 0))
        os.execvp(command[0], command)
    said = b""
    while b"}" not in said:
        said += os.read(terminal, 4096)
    if do == "type":
        os.write(terminal, b"\\x03")
    else:
        os.kill(pid, signal.SIGTERM)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    print(json.dumps([status, said.decode()]))
    """


@pytest.fixture
def probe(trap):
    """Have the service's unit name another program; returns what that program gets from a shell's command."""
    trap.write("/usr/local/bin/probe", PROBE, 0o755)
    trap.drop_in("[Service]\nExecStart=\nExecStart=/usr/local/bin/probe run\n")
    trap.drop_in("[Service]\nEnvironment=HTTPS_PROXY=http://first:1\n")
    trap.drop_in("[Service]\nEnvironment=HTTPS_PROXY=http://second:2\n")
    yield lambda lines: json.loads(trap.machine.run("sh", "-euc", lines).out)
    trap.machine.run("rm", "/usr/local/bin/probe")


def test_a_command_gets_the_services_user_and_environment_and_of_the_callers_only_the_terminals(trap, probe):
    found = probe(f"PAGER=less LD_PRELOAD= SPI=x NO_COLOR=1 COLUMNS=50 {NAME} retry 'a$b' '--' ./c")
    assert found["argv"] == ["retry", "a$b", "--", "./c"]
    assert str(found["uid"]) == trap.machine.run("id", "-u", NAME).out.strip()
    environ = found["environ"]
    assert [environ.get(name) for name in ("COLUMNS", "NO_COLOR", "HTTPS_PROXY")] == ["50", "1", "http://second:2"]
    assert not {"PAGER", "LD_PRELOAD", "SPI", "SUDO_USER"} & set(environ)
    assert environ["CREDENTIALS_DIRECTORY"].startswith("/run/credentials/")


def test_the_current_folder_is_handed_on_only_where_root_alone_decides_where_it_leads(trap, probe):
    trap.machine.run("install", "-d", "-o", NAME, STATE, f"{STATE}/below")
    for folder, expected in {IMAGES: IMAGES, f"{STATE}/below": "/", "/root": "/"}.items():
        assert probe(f"cd {folder}; {NAME} retry --all")["cwd"] == expected
    assert probe(f"cd {STATE}/below; {NAME} retry ./c.jpg")["argv"] == ["retry", f"{STATE}/below/c.jpg"]


def test_a_command_is_started_as_the_unit_starts_its_program(trap, probe):
    trap.drop_in("[Service]\nExecStart=\nExecStart=nice -n 10 /usr/local/bin/probe run\n")
    assert probe(f"{NAME} retry --all")["argv"] == ["retry", "--all"]
    trap.machine.run("cp", "/usr/local/bin/probe", "/root/hidden")
    for line, why in {
        "/usr/local/bin/probe": f"it isn't known how {SERVICE} starts its program: its ExecStart= has neither",
        "/usr/local/bin/nowhere run": f"it isn't known how {SERVICE} starts its program: there is no /usr/local/bin/",
        "/root/hidden run": "/root/hidden can't be started (status 203)",
    }.items():
        trap.drop_in(f"[Service]\nExecStart=\nExecStart={line}\n")
        done = trap.machine.run(NAME, "audit", "--verify", check=False)
        assert (done.status, done.out) == (78, "")
        assert why in done.err
    trap.machine.run("rm", "/root/hidden")


@pytest.mark.parametrize("status", [0, 1, 75])
def test_the_exit_status_is_the_commands_own(trap, probe, status):
    done = trap.machine.run(NAME, "drain", "--deadline", status, check=False)
    assert (done.status, json.loads(done.out)["argv"]) == (status, ["drain", "--deadline", str(status)])


@pytest.mark.parametrize(("do", "status"), [("type", 33), ("kill", 143)])
def test_ctrl_c_and_sigterm_end_the_command_and_its_width_is_the_terminals(trap, probe, do, status):
    done = trap.machine.run("python3", "-c", ON_A_TERMINAL, do, NAME, "audit")
    ended, said = json.loads(done.out)
    assert ended == status
    assert json.loads(said)["tty"] == [[False, True, True], 123]
    units = trap.systemctl("list-units", "--all", "--plain", "--no-legend", f"{NAME}-audit-*").out
    assert units == ""


def test_commands_of_roots_have_the_password_and_leave_nothing_of_roots(trap, server):
    first = trap.take_picture()
    for command in (["drain"], ["audit", "--verify"], ["retry", "--all"], ["check"]):
        done = trap.command(*command)
        assert "password" not in done.err
    assert trap.states() == {first: "uploaded"}
    owners = trap.machine.run("find", STATE, "-printf", "%u\n").out.split()
    assert set(owners) == {NAME}


def test_root_is_told_what_fsck_left_though_the_service_may_not_look_there(trap):
    trap.configure()
    folder = trap.machine.card / "lost+found"
    folder.mkdir(mode=0o700)
    (folder / "#12").touch()
    out = trap.command("check").out
    assert out.startswith("All is well, with ")
    assert f"fsck put 1 file into {IMAGES}/lost+found" in out


def test_a_command_that_is_given_another_trap_works_as_the_caller_and_says_so(trap):
    trap.configure()
    other = "/srv/other"
    trap.machine.run("mkdir", other)
    trap.machine.run("cp", CONFIGURATION, f"{other}/config.toml")
    cases = {"--image-dir": other, "--state-dir": f"{other}/state", "--config": f"{other}/config.toml"}
    for flag, value in cases.items():
        done = trap.command("check", "--json", flag, value, check=False)
        (seen,) = [each for each in json.loads(done.out) if each["about"] == "seen as"]
        assert "the user 0 (root)" in seen["what"]
        assert f"{flag} is not the service's: this works with your rights" in seen["what"]
        assert f"{flag} is not the service's" in done.err
        assert f"{flag} is not the service's" in trap.command("retry", "--all", flag, value).err
    own = trap.command("check", "--json", "--config", CONFIGURATION, "--image-dir", IMAGES, "--state-dir", STATE)
    assert f"limits of {SERVICE}" in own.out
    assert own.err == ""
    trap.machine.run("rm", "-r", other)


def test_a_unit_that_cannot_start_a_program_is_said_and_nothing_is_done_with_other_rights(trap):
    trap.configure()
    trap.drop_in("[Service]\nUser=nobody-of-this-name\n")
    for command in (["drain"], ["retry", "--all"], ["audit"]):
        done = trap.command(*command, check=False)
        assert done.status == 78
        assert f"systemd can't start a program as {SERVICE} does: status 217" in done.err
    assert not (trap.machine.card / f".{NAME}").exists()


def test_without_a_unit_commands_that_need_no_password_go_on_as_the_state_folders_owner(trap, server):
    first = trap.take_picture()
    trap.command("drain")
    trap.drop_in("[Service]\nUser=nobody-of-this-name\n")
    for command in (["retry", "--all"], ["audit"]):
        done = trap.command(*command)
        assert "this goes on without the service's credentials and limits" in done.err
        assert "whose state folder it is" in done.err
    assert trap.command("audit", "--verify", check=False).status == 78
    assert trap.states() == {first: "uploaded"}
    assert set(trap.machine.run("find", STATE, "-printf", "%u\n").out.split()) == {NAME}
