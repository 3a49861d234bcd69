import ast
import os
import re
import subprocess
import sys

import pytest
import systemd_python
from program import python
from sticky_pi_uploader.journal.events import Kind

LOG = """if True:
    import logging, os, sys
    sys.modules |= {name: None for name in sys.argv[2:]}
    if sys.argv[1] == "journal":
        status = os.fstat(2)
        os.environ["JOURNAL_STREAM"] = f"{status.st_dev}:{status.st_ino}"
    from sticky_pi_uploader.journal import setup as logs
    logs.set_up()
    logs.set_up()
    log = logging.getLogger("sticky_pi_uploader.test")
    log.debug("not shown")
    logging.getLogger("urllib3.connectionpool").warning("not shown: a library's own words")
    log.info("uploaded %s", "caf\\udce9", extra={"STICKY_PI_IMAGE": "a.jpg\\udce9"})
    log.warning("two\\nlines")
    log.info("")
    try:
        1 / 0
    except ZeroDivisionError:
        log.exception("broken")
    log.critical("the end")
    """


def logged(*arguments, **environ):
    without = {name: value for name, value in os.environ.items() if name != "JOURNAL_STREAM"}
    return python(LOG, *arguments, env=without | environ, check=True).stderr.splitlines()


def test_people_get_the_time_in_utc_and_each_line_once():
    lines = logged("stderr", TZ="Pacific/Auckland")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ INFO uploaded caf\\udce9", lines[0])
    assert [line.partition("Z ")[2] or line for line in lines[1:4]] == ["WARNING two", "lines", "INFO "]
    assert lines[-1].endswith("Z CRITICAL the end")
    hour = subprocess.run(["date", "-u", "+%H"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    assert (int(hour) - int(lines[-1][11:13])) % 24 <= 1


def test_another_programs_journal_is_not_ours():
    assert "INFO uploaded" in logged("stderr", JOURNAL_STREAM="1:2")[0]
    assert "INFO uploaded" in logged("stderr", JOURNAL_STREAM="garbage")[0]


def test_under_the_journal_without_systemd_python_every_line_has_its_priority_and_no_time():
    lines = logged("journal", "systemd")
    assert lines[:4] == ["<6>uploaded caf\\udce9", "<4>two", "<4>lines", "<6>"]
    assert lines[4:6] == ["<3>broken", "<3>Traceback (most recent call last):"]
    assert lines[-2:] == ["<3>ZeroDivisionError: division by zero", "<2>the end"]


JOURNAL = """if True:
    import os, socket, subprocess, sys
    os.makedirs("/run/systemd/journal")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind("/run/systemd/journal/socket")
        subprocess.run([sys.executable, "-c", sys.argv[1], "journal"], check=True)
        journal.setblocking(False)
        for _ in range(5):
            print(ascii(journal.recv(100000)))
    """

DRAIN = """if True:
    import os, sys
    status = os.fstat(2)
    os.environ["JOURNAL_STREAM"] = f"{status.st_dev}:{status.st_ino}"
    from sticky_pi_uploader.cli.main import main
    main(["drain", "--image-dir", os.environ["IMAGES"]])
    """


@pytest.fixture
def private_run():
    """Return the beginning of the command line of what gets a /run of its own."""
    if not systemd_python.is_installed():
        pytest.skip(systemd_python.MISSING)
    if os.geteuid() != 0:
        pytest.skip("needs root for a /run of its own")
    command = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs none /run && exec "$@"', "sh"]
    if (tried := subprocess.run([*command, "true"], capture_output=True, text=True, check=False)).returncode:
        pytest.skip(f"nothing can be mounted over /run here: {tried.stderr}")
    return command


def test_the_journal_gets_entries_with_their_fields(private_run):
    command = [*private_run, sys.executable, "-c", JOURNAL, LOG]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    first, second, _, error, last = done.stdout.splitlines()
    assert r"MESSAGE=uploaded caf\\udce9\n" in first
    assert r"\nSTICKY_PI_IMAGE=a.jpg\\udce9\n" in first
    assert r"\nSYSLOG_IDENTIFIER=sticky-pi-uploader\n" in first
    assert r"\nPRIORITY=6\n" in first
    assert r"\nPRIORITY=4\n" in second
    assert "ZeroDivisionError" in error
    assert "MESSAGE=the end" in last
    # What the library knows besides is no field: journald would only drop it.
    assert not re.search(r"\\n[a-z]+=", first)


def test_the_journal_gets_the_kind_of_event_and_the_pictures_fields(private_run, tmp_path):
    for number in range(5):
        (tmp_path / f"holiday{number}.jpg").write_text("wish you were here")
    command = [*private_run, sys.executable, "-c", JOURNAL, DRAIN]
    environment = os.environ | {"IMAGES": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=environment)
    assert done.stderr == ""
    entries = [ast.literal_eval(line).decode().splitlines() for line in done.stdout.splitlines()]
    names = set()
    for entry in entries:
        assert f"MESSAGE_ID={Kind.REJECTED.value}" in entry
        assert {"STICKY_PI_EVENT=rejected", "STICKY_PI_STATE=rejected", "PRIORITY=4"} <= set(entry)
        names |= {line for line in entry if line.startswith("STICKY_PI_IMAGE=")}
    assert names == {f"STICKY_PI_IMAGE=holiday{number}.jpg" for number in range(5)}


def test_what_ends_a_command_has_its_priority_in_the_journal(tmp_path):
    code = """if True:
        import os, sys
        sys.modules["systemd"] = None
        status = os.fstat(2)
        os.environ["JOURNAL_STREAM"] = f"{status.st_dev}:{status.st_ino}"
        from sticky_pi_uploader.cli.main import main
        sys.exit(main(["run", "--config", sys.argv[1]]))
        """
    (tmp_path / "config.toml").write_text("scan_interval = 'often'\nimage_dri = 3\n")
    done = python(code, tmp_path / "config.toml")
    assert done.returncode == 78
    lines = done.stderr.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("<3>") for line in lines)


def test_a_closed_stderr_is_no_error():
    code = "import sys; sys.stderr = None; from sticky_pi_uploader.journal import setup; setup.set_up(); print('fine')"
    assert python(code, check=True).stdout == "fine\n"


def test_handlers_of_others_are_left_alone():
    code = """if True:
        import logging
        from sticky_pi_uploader.journal import setup as logs
        other = logging.NullHandler()
        logging.getLogger().addHandler(other)
        logs.set_up()
        logs.set_up(logging.DEBUG)
        logging.getLogger("x").debug("shown")
        print(other in logging.getLogger().handlers, len(logging.getLogger().handlers))
        """
    done = python(code, check=True)
    assert done.stdout == "True 2\n"
    assert done.stderr.endswith("DEBUG shown\n")
