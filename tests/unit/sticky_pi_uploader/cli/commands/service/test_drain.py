import os
import pty
import re
import select
import shlex
import subprocess
import sys

from api_server import ApiServer


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
    assert "\r\x1b[K1 taken in, 1 of 1 sent, " in seen
    assert re.search(r"\r\x1b\[K1 sent \([0-9.]+ [kM]B\), nothing left to send\r\n$", seen)
    assert "INFO" not in seen


def test_on_a_slow_link_the_progress_is_shown_after_each_picture(trap, make_trap_picture):
    sizes = [os.path.getsize(make_trap_picture(trap.images, size=(4, 3))) for _ in range(4)]
    config, password = trap.folder / "config.toml", trap.folder / "password"
    with ApiServer(trap.folder / "server") as server:
        config.write_text(
            f'image_dir = "{trap.images}"\nstate_dir = "{trap.state}"\n[api]\nurl = "{server.url}"\nusername = "trap"\n'
            f'password_file = "{password}"\nparallel = 1\nmax_rate = {max(1000, sum(sizes) // 3)}\n'
        )
        password.touch(mode=0o600)
        password.write_text("pollen")
        status, seen = on_a_terminal(trap, "drain", "--config", config)
    frames = seen.split("\r\x1b[K")
    assert status == 0
    total = r"[0-9.]+ [kM]B"
    places = [
        next(
            i for i, frame in enumerate(frames) if re.match(rf"4 taken in, {sent} of 4 sent, {total} of {total}", frame)
        )
        for sent in range(1, 4)
    ]
    assert places == sorted(places)
    assert re.search(rf", {total}/s, [0-9.]+ (s|min) left$", frames[places[0]])
    assert re.match(rf"4 sent \({total}\), nothing left to send", frames[-1])


def test_the_sum_of_a_drain_that_was_ended_counts_what_was_sent_and_says_where_to_look(trap, make_trap_picture):
    make_trap_picture(trap.images)
    trap.store.write_text("in the way of the store")
    status, seen = on_a_terminal(trap, "drain", *trap.flags, "--deadline", "1")
    assert status == 75
    assert re.search(rf"\r\x1b\[K0 sent, 1 left to send: `[^`]+ {re.escape(shlex.join(trap.flags))} status`", seen)


def test_warnings_on_a_terminal_get_a_line_of_their_own(trap):
    (trap.images / "notes.jpg").write_text("no picture")
    _, seen = on_a_terminal(trap, "drain", *trap.flags)
    assert re.search(r"(^|\r\n|\r)\x1b\[K\S+ WARNING notes.jpg: [^\r]*\r\n", seen)


def test_drain_elsewhere_logs_plain_lines(trap, make_trap_picture):
    path = make_trap_picture(trap.images)
    done = trap.run("drain")
    assert b"\r" not in done.stderr
    assert f"INFO {path.name}: uploaded" in done.stderr.decode()
