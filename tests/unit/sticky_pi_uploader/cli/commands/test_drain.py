import os
import pty
import re
import select
import subprocess
import sys


def on_a_terminal(trap, *words):
    """Run a command with a terminal as its stderr and stdout; returns its status and what the terminal got."""
    controller, terminal = pty.openpty()
    command = [sys.executable, "-m", "sticky_pi_uploader", *words]
    env = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "PATH": os.environ["PATH"]}
    with subprocess.Popen(
        command, stdout=terminal, stderr=terminal, stdin=terminal, env=env, cwd=trap.folder
    ) as process:
        os.close(terminal)
        seen = b""
        while select.select([controller], [], [], 60)[0]:
            try:
                part = os.read(controller, 65536)
            except OSError:  # the other end was closed
                break
            seen += part
        os.close(controller)
    return process.returncode, seen.decode()


def test_drain_sends_and_says_so_by_its_status(sent):
    counts = sent.json("status")["counts"]
    assert (counts["uploaded"], sum(counts.values())) == (1, 1)
    again = sent.run("drain")
    assert (again.returncode, again.stdout) == (0, b"")


def test_drain_ends_with_75_when_something_is_left(trap, make_trap_picture):
    make_trap_picture(trap.images)
    trap.store.write_text("in the way of the store")
    done = trap.run("drain", "--deadline", "0.1")
    assert done.returncode == 75
    assert trap.json("status")["destination"]["state"] != "ok"


def test_drain_on_a_terminal_shows_one_line_of_progress_and_a_sum(trap, make_trap_picture):
    make_trap_picture(trap.images)
    status, seen = on_a_terminal(trap, "drain", *trap.flags)
    assert status == 0
    assert "\r\x1b[K1 taken in, 1 sent, 0 to go" in seen
    assert seen.endswith("\r\x1b[K1 sent, nothing left to send\r\n")
    assert "INFO" not in seen


def test_warnings_on_a_terminal_get_a_line_of_their_own(trap):
    (trap.images / "notes.jpg").write_text("no picture")
    _, seen = on_a_terminal(trap, "drain", *trap.flags)
    assert re.search(r"(^|\r\n|\r)\x1b\[K\S+ WARNING notes.jpg: [^\r]*\r\n", seen)


def test_drain_elsewhere_logs_plain_lines(trap, make_trap_picture):
    path = make_trap_picture(trap.images)
    done = trap.run("drain")
    assert b"\r" not in done.stderr
    assert f"INFO {path.name}: uploaded" in done.stderr.decode()
