"""What has the service started again (it is killed, stopped or stuck), and what not: a broken configuration."""

import subprocess
from contextlib import contextmanager

import pytest
from containers.trap import CONFIGURATION, SERVICE, STATE
from sticky_pi_uploader.journal.events import Kind

SOON = "RestartSec=1\n"

STUCK = """\
import os, sys
from sticky_pi_uploader import config
from sticky_pi_uploader.journal import setup
from sticky_pi_uploader.service import service
from sticky_pi_uploader.service.liveness import Limits
setup.set_up()
load = lambda: config.load({}, os.environ)
sys.exit(service.run(load, limits=Limits(store=4)))
"""
"""The service, in which a store isn't given as long to get on as usual"""

CLOSE = """\
import sqlite3, sys
sqlite3.connect(sys.argv[1], isolation_level=None).execute("BEGIN EXCLUSIVE")
print("closed", flush=True)
sys.stdin.read()
"""
"""Lets nobody else at a database until its input ends"""


def wait_for_restart(trap, pid):
    """Wait until another process than this one is ready, the first one after it."""

    def runs_again():
        state, now = trap.show("ActiveState", "MainPID")
        return state == "active" and int(now) not in (0, pid)

    trap.wait_until(runs_again, "start it again")
    assert trap.show("NRestarts") == "1"


def said_of_it(trap):
    """Return what systemd itself said of the service."""
    return [record["MESSAGE"] for record in trap.machine.journal("--boot", "_PID=1", f"UNIT={SERVICE}")]


@contextmanager
def closed_store(trap):
    """Have whoever wants to write to the store wait, as for a disk that hangs."""
    command = trap.machine.command("python3", "-c", CLOSE, f"{STATE}/store/database.db")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"closed\n"
        yield
        holder.stdin.close()


def send_signal(trap, name):
    trap.systemctl("kill", "--kill-whom=main", f"--signal={name}", SERVICE)


def test_a_process_that_is_stopped_is_started_again(trap, server):
    trap.drop_in(f"[Service]\nWatchdogSec=6\n{SOON}")
    trap.start()
    pid = trap.pid
    send_signal(trap, "STOP")
    name = trap.take_picture()
    wait_for_restart(trap, pid)
    trap.wait_for("uploaded", name)
    assert any("Watchdog timeout" in said for said in said_of_it(trap))
    assert len(server.sent_files()) == 1


def test_a_process_that_is_killed_during_an_upload_is_started_again_and_sends_the_picture_once(trap, server):
    trap.use_server(server, max_rate="5 kB")
    trap.drop_in(f"[Service]\n{SOON}")
    trap.start()
    name, pid = trap.take_picture(size=(640, 480)), trap.pid
    trap.wait_for("uploading", name)
    send_signal(trap, "KILL")
    trap.use_server(server)
    wait_for_restart(trap, pid)
    assert trap.messages(MESSAGE_ID=Kind.RESUMED.value)
    trap.wait_for("uploaded", name)
    assert list(server.objects().values()) == [trap.on_the_card(name).read_bytes()]


@pytest.mark.parametrize(
    "broken", ["parallel = 'many'", 'url = "https://sticky-pi.invalid"'], ids=["wrong", "no account"]
)
def test_a_configuration_that_cant_be_used_is_not_tried_again(trap, broken):
    trap.drop_in("[Service]\nRestartSec=100ms\n")
    trap.write(CONFIGURATION, f"[api]\n{broken}\n")
    assert trap.systemctl("start", SERVICE, check=False).status != 0
    assert trap.show("ActiveState", "SubState", "ExecMainStatus", "NRestarts") == ("failed", "failed", "78", "0")
    assert trap.messages("[api]", PRIORITY=3)


def test_an_upload_that_is_stuck_in_its_store_has_the_service_started_again(trap):
    trap.write("/opt/impatient", STUCK)
    trap.drop_in(f"[Service]\nExecStart=\nExecStart=python3 /opt/impatient\nWatchdogSec=6\n{SOON}")
    trap.configure()
    trap.start()
    first, pid = trap.take_picture(), trap.pid
    trap.wait_for("uploaded", first)
    with closed_store(trap):
        second = trap.take_picture()
        stuck = trap.wait_for_message("the uploader hangs for ")
        assert (stuck["MESSAGE_ID"], stuck["PRIORITY"]) == (Kind.STUCK.value, "2")
        wait_for_restart(trap, pid)
    trap.wait_for("uploaded", first, second)
    assert any("Watchdog timeout" in said for said in said_of_it(trap))
