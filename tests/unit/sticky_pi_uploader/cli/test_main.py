import json
import logging
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import pytest
import sticky_pi_uploader
from program import loaded_by, python
from sticky_pi_uploader.cli import arguments
from sticky_pi_uploader.cli import main as cli
from sticky_pi_uploader.journal.events import Kind
from sticky_pi_uploader.models import State

NOBODY = 65534

AS_NOBODY = """if True:
    import os, sys
    from sticky_pi_uploader.cli import main as cli
    cli.main(sys.argv[1:])  # loads what it needs, which others may have no right to read
    for stream in (sys.stdout, sys.stderr):
        print("as nobody:", file=stream, flush=True)
    os.setgroups([])
    os.setgid({nobody})
    os.setuid({nobody})
    sys.exit(cli.main(sys.argv[1:]))
    """.replace("{nobody}", str(NOBODY))


def run_as_nobody(trap, *arguments):
    """Run a command as a user without rights; returns its status, and what it wrote."""
    if os.geteuid() != 0:
        done = trap.run(*arguments)
        return done.returncode, done.stdout.decode(), done.stderr.decode()
    done = python(AS_NOBODY, *arguments, *trap.flags)
    return done.returncode, *(text.split("as nobody:\n")[1] for text in (done.stdout, done.stderr))


@pytest.fixture
def public_trap(trap):
    """A trap in a folder that every user can reach, with a picture recorded."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        public = type(trap)(Path(folder))
        public.images.mkdir()
        yield public
        os.chmod(folder, 0o755)
        if public.state.exists():
            os.chmod(public.state, 0o755)


def test_run_works_until_it_is_told_to_stop(trap, make_trap_picture):
    command = [sys.executable, "-m", "sticky_pi_uploader", "run", *trap.flags]
    env = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "PATH": os.environ["PATH"]}
    with subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) as process:
        lines = iter(process.stderr.readline, "")
        assert any("watching" in line for line in lines)
        assert trap.json("status")["running"] is True
        second = trap.run("drain")
        assert second.returncode == 73
        assert f"process {process.pid}" in second.stderr.decode()
        name = make_trap_picture(trap.images).name
        assert any(f"{name}: uploaded" in line for line in lines)
        process.send_signal(signal.SIGTERM)
        process.stderr.read()
    assert process.returncode == 0
    assert trap.json("status")["running"] is False


@pytest.mark.parametrize("command", ["run", "drain", "status", "list", "retry --all", "config", "explain x"])
def test_a_wrong_configuration_is_one_clear_message_and_78(trap, command):
    config = trap.folder / "config.toml"
    config.write_text("image_dri = 7\nscan_interval = 'often'\n")
    done = trap.run(*command.split(), flags=["--config", str(config)])
    assert (done.returncode, done.stdout) == (78, b"")
    lines = done.stderr.decode().splitlines()
    assert len(lines) == 2
    assert all(line.startswith(f"sticky-pi-uploader: {config}, line ") for line in lines)
    assert "did you mean image_dir?" in lines[0]


@pytest.mark.parametrize("command", ["drain", "run"])
def test_a_state_folder_that_cannot_be_made_ends_with_74(trap, command):
    (trap.folder / "file").touch()
    done = trap.run(command, "--state-dir", f"{trap.folder}/file/state")
    assert done.returncode == 74
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["sing"],
        ["--image-dir", "/x"],
        ["help", "sing"],
        ["list", "--stat", "lost"],
        ["list", "extra"],
        ["list", "--state", "asleep"],
        ["explain"],
        ["retry"],
        ["drain", "--deadline", "soon"],
        ["drain", "--deadline", "-1"],
        ["drain", "--deadline", "nan"],
        ["status", "--state-dir"],
    ],
)
def test_wrong_usage_is_one_line_and_2(words, capsys):
    assert cli.main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("sticky-pi-uploader: ")
    assert len(err.splitlines()) == 1
    assert "--help`" in err


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["statsu"], "there is no command 'statsu'; did you mean status? See `sticky-pi-uploader --help`"),
        (["Status"], "there is no command 'Status'; did you mean status? See `sticky-pi-uploader --help`"),
        (["statsu", "--json"], "there is no command 'statsu'; did you mean status? See `sticky-pi-uploader --help`"),
        (["frobnicate"], "there is no command 'frobnicate'; there are run, drain, "),
        (["help", "drian"], "argument COMMAND: there is no command 'drian'; did you mean drain? See"),
        (["list", "--stat", "lost"], "there is no flag '--stat'; did you mean --state? See `sticky-pi-uploader list"),
        (["list", "--stat=lost"], "there is no flag '--stat'; did you mean --state? See `sticky-pi-uploader list"),
        (["list", "--state", "lots"], "argument --state: there is no state 'lots'; did you mean lost? See"),
        (["--image-dri", "/x", "status"], "there is no flag '--image-dri'; did you mean --image-dir? See"),
        (["--image-dir", "/x", "--jsno", "status"], "there is no flag '--jsno'; there are --help, --version, "),
        (["--image-dir", "/x", "status", "--jsno"], "there is no flag '--jsno'; did you mean --json? See"),
        (["explain", "a.jpg", "--sate-dir", "/x"], "there is no flag '--sate-dir'; did you mean --state-dir? See"),
        (["list", "--json", "lost"], "unrecognized arguments: lost; see `sticky-pi-uploader list --help`"),
    ],
    ids=" ".join,
)
def test_wrong_usage_names_what_was_probably_meant(words, meant, capsys):
    assert cli.main(words) == 2
    assert capsys.readouterr().err.startswith(f"sticky-pi-uploader: {meant}")


def test_a_file_may_look_like_a_flag_behind_two_dashes(trap):
    assert trap.run("explain", "--", "--jsno.jpg").returncode == 0


def test_help_is_a_command_too_and_what_is_shown_without_any(capsys):
    for words, same in (([], ["--help"]), (["help"], ["--help"]), (["help", "drain"], ["drain", "--help"])):
        assert cli.main(same) == 0
        expected = capsys.readouterr()
        assert cli.main(words) == 0
        assert capsys.readouterr() == expected


def test_flags_count_before_and_after_a_command(trap, capsys):
    for words in (
        ["--image-dir", "/a", "--config", os.devnull, "config"],
        ["config", "--image-dir", "/a", "--config", os.devnull],
        ["--image-dir", "/b", "config", "--config", os.devnull, "--image-dir", "/a"],
    ):
        assert cli.main(words) == 0
        assert 'image_dir = "/a"\n' in capsys.readouterr().out


def test_config_shows_what_is_in_force_and_no_password(trap):
    done = trap.run("config", "--username", "kim", env={"SPI_API_PASSWORD": "hunter2"})
    assert done.returncode == 0
    assert b'username = "kim"' in done.stdout
    assert b"hunter2" not in done.stdout
    assert b"********" in done.stdout


def test_help_names_every_command_and_exit_status(capsys):
    assert cli.main(["--help"]) == 0
    shown = capsys.readouterr().out
    for command in cli.COMMANDS:
        assert re.search(rf"^    {command.name}\s", shown, re.MULTILINE)
    for status in (0, 1, 2, 70, 73, 74, 75, 78):
        assert re.search(rf"^  {status}\s", shown, re.MULTILINE)


@pytest.mark.parametrize("command", cli.COMMANDS, ids=lambda command: command.name)
def test_the_help_of_a_command_has_an_example_that_can_be_typed(command, capsys):
    assert cli.main([command.name, "--help"]) == 0
    assert f"example: sticky-pi-uploader {command.example}" in capsys.readouterr().out
    typed = arguments.parser().parse_args(command.example.split())
    assert typed.command == command.name


def test_the_version_is_told(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("sticky-pi-uploader ")


@pytest.mark.parametrize(
    "words", [["status"], ["list"], ["explain", "notes.jpg"], ["--help"], ["config"], ["retry", "notes.jpg"]]
)
def test_commands_that_only_look_load_nothing_heavy(trap, taken, words):
    trap.record(taken("notes.jpg"))
    code = "import sys; from sticky_pi_uploader.cli import main; main.main(sys.argv[1:])"
    loaded = loaded_by(code, *(trap.flags if words != ["--help"] else []), *words)
    assert "sticky_pi_uploader.config" in loaded
    assert loaded & set("PIL piexif requests sqlite_utils watchdog tenacity numpy difflib http".split()) == set()


def test_a_reader_that_has_seen_enough_is_no_error(trap, taken):
    trap.record(*(taken(f"{n}.jpg", n) for n in range(3000)))
    for form in ([], ["--json"]):
        command = [sys.executable, "-m", "sticky_pi_uploader", "list", *form, *trap.flags]
        env = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env) as process:
            assert process.stdout.readline()
            process.stdout.close()
            assert process.stderr.read() == b""
        assert process.returncode == 0


def test_output_that_cannot_be_written_is_said(sent):
    with open("/dev/full", "wb") as full:
        done = sent.run("list", capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 74
    assert done.stderr == b"sticky-pi-uploader: the output can't be written: No space left on device\n"


@pytest.mark.parametrize("closed", [1, 2])
def test_a_closed_stream_is_no_error(trap, taken, closed):
    trap.record(taken("a.jpg"))
    command = [sys.executable, "-m", "sticky_pi_uploader", *trap.flags, "list"]
    env = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    script = f'exec "$@" {closed}>&-'
    done = subprocess.run(["sh", "-c", script, "sh", *command], check=True, capture_output=True, env=env)
    assert (done.stdout.count(b"a.jpg"), done.stderr) == (int(closed != 1), b"")


def test_ctrl_c_is_quiet(trap, taken):
    trap.record(*(taken(f"{n}.jpg", n) for n in range(3000)))
    # These tests may have been started by what ignores the signal, as nohup does, and that is inherited.
    command = ["env", "--default-signal=INT", sys.executable, "-m", "sticky_pi_uploader", "list", *trap.flags]
    env = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env) as process:
        assert process.stdout.readline()  # the pipe fills up, and it waits
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.stderr.read() == b""
    assert process.returncode == 130


SOURCE = Path(sticky_pi_uploader.__file__).parents[1]
INTERRUPTED_AT_IMPORTS = """if True:
    import os, signal, sys

    class Counter:
        "Is asked for each module that is to be imported; at the last of them somebody presses Ctrl-C."
        left = {at}

        def find_spec(self, name, *_):
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGINT)

    from sticky_pi_uploader import __main__
    sys.meta_path.insert(0, Counter())
    sys.argv[1:] = {arguments}
    sys.exit(__main__.start())
"""


@pytest.mark.parametrize("at", [1, 2, 3, 5, 8, 12, 17, 25, 35, 50])
def test_ctrl_c_is_quiet_while_modules_are_imported(trap, at):
    script = INTERRUPTED_AT_IMPORTS.format(at=at, arguments=["list", *trap.flags])
    command = ["env", "--default-signal=INT", sys.executable, "-c", script]
    done = subprocess.run(command, env={"PYTHONPATH": str(SOURCE)}, capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (130, b"")


@pytest.mark.parametrize("way", ["-m", "script"])
def test_ctrl_c_prints_no_traceback_of_ours_at_any_moment_of_a_start(trap, tmp_path, way):
    """Nobody but Python has a say in what is printed before the first line of ours."""
    script = tmp_path / "script"
    script.write_text("import sys\nfrom sticky_pi_uploader.__main__ import start\nsys.exit(start())\n", "ascii")
    program = ["-m", "sticky_pi_uploader"] if way == "-m" else [script]
    command = ["env", "--default-signal=INT", sys.executable, *program, "list", *trap.flags]
    for moment in range(40):
        with subprocess.Popen(command, stderr=subprocess.PIPE, env={"PYTHONPATH": str(SOURCE)}) as process:
            time.sleep(0.004 * moment)
            process.send_signal(signal.SIGINT)
            said = process.stderr.read().decode()
        # Python's own messages may name files of ours that it was about to read.
        assert f'File "{SOURCE}/' not in said


def test_an_error_of_its_own_ends_with_70_and_all_that_a_report_needs(trap, taken, caplog):
    trap.record(taken("notes.jpg"))
    with closing(sqlite3.connect(trap.outbox)) as outbox:
        outbox.execute("CREATE TRIGGER bug BEFORE INSERT ON history BEGIN SELECT raise(ABORT, 'a bug'); END")
    assert cli.main(["retry", "notes.jpg", *trap.flags]) == os.EX_SOFTWARE
    (record,) = caplog.records
    assert (record.levelno, record.MESSAGE_ID) == (logging.CRITICAL, Kind.DIED.value)
    assert record.getMessage() == "stopped by an error of its own; please report it with these lines"
    assert "IntegrityError: a bug" in caplog.text
    assert "Traceback" in trap.run("retry", "notes.jpg").stderr.decode()


@pytest.mark.parametrize("command", [["status"], ["list"], ["explain", "a.jpg"], ["retry", "--all"]])
def test_without_permission_to_read_sudo_is_named(public_trap, taken, command):
    public_trap.record(taken("a.jpg"))
    os.chmod(public_trap.state, 0)
    status, out, err = run_as_nobody(public_trap, *command)
    assert (status, out) == (74, "")
    assert "sudo" in err
    assert len(err.splitlines()) == 1


def test_check_names_a_closed_folder_in_its_findings_and_not_in_lines_of_a_log(public_trap):
    closed = public_trap.images / "closed"
    closed.mkdir(mode=0)
    _, out, err = run_as_nobody(public_trap, "check")
    assert f"{closed} can't be read" in out
    assert err == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: another user's outbox is read")
def test_everybody_may_look_at_what_may_be_read(public_trap, taken):
    public_trap.record(taken("a.jpg"))
    for command in (["list"], ["status"], ["explain", "a.jpg"]):
        status, out, err = run_as_nobody(public_trap, *command)
        assert (status, err) == (0, "")
        assert "pending" in out
    with public_trap.open():  # a daemon at work
        status, out, err = run_as_nobody(public_trap, "list")
        assert (status, err) == (0, "")
        assert "a.jpg" in out


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: another user's outbox is written to")
def test_retry_of_another_users_outbox_names_sudo(public_trap, taken):
    public_trap.record(taken("a.jpg"))
    status, _, err = run_as_nobody(public_trap, "retry", "--all")
    assert status == 74
    assert "sudo" in err


@pytest.mark.skipif(
    os.geteuid() != 0, reason="needs root: what a process leaves that was killed is read by another user"
)
def test_everybody_may_look_at_what_a_killed_process_left(public_trap, taken):
    names = ("outbox.db", "outbox.db-wal", "outbox.db-shm")
    with public_trap.open() as outbox:
        outbox.catalog.record([taken("a.jpg")])
        for name in names:
            shutil.copy(public_trap.state / name, public_trap.folder / name)
    for name in names:
        shutil.copy(public_trap.folder / name, public_trap.state / name)
    status, out, err = run_as_nobody(public_trap, "list")
    assert (status, err) == (0, "")
    assert "a.jpg" in out


def test_the_states_that_can_be_asked_for_are_those_there_are():
    for state in State:
        assert arguments.parser().parse_args(["list", "--state", state]).states == [state]


def test_json_is_printed_when_a_folder_is_not_utf8(trap, taken):
    odd = type(trap)(trap.folder / os.fsdecode(b"caf\xe9"))
    odd.images.mkdir(parents=True)
    odd.record(taken("a.jpg"))
    done = odd.run("status", "--json", flags=["--image-dir", odd.images, "--state-dir", odd.state], env={"LC_ALL": "C"})
    assert os.fsencode(json.loads(done.stdout)["image_dir"]) == os.fsencode(odd.images)
    shown = odd.run("status", flags=["--image-dir", odd.images, "--state-dir", odd.state])
    assert rb"caf\xe9/pictures" in shown.stdout
