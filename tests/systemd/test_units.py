"""The units: what systemd itself says of them, and what they have in common."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from sticky_pi_uploader.cli.arguments import COMMANDS

SYSTEMD = Path(__file__).parents[2] / "systemd"
SERVICE = SYSTEMD / "sticky-pi-uploader.service"
DRAIN = SYSTEMD / "sticky-pi-uploader-drain.service"
TIMER = SYSTEMD / "sticky-pi-uploader-drain.timer"

analyze = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze here: apt-get install systemd"
)


def settings(unit, section):
    """Return the settings of one section, in their order."""
    text = re.search(rf"^\[{section}\]\n(.*?)(?=^\[|\Z)", unit.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)[1]
    return [tuple(line.split("=", 1)) for line in text.splitlines() if line and not line.startswith("#")]


def sandbox(unit):
    """Return the lines below the one that says where the sandbox begins."""
    service = unit.read_text("utf-8").partition("\n# ---- The sandbox")[2].partition("\n[Install]")[0]
    return service.splitlines()[1:]


def seconds(text):
    return float(text.removesuffix("min")) * 60 if text.endswith("min") else float(text)


def test_both_services_work_in_the_same_sandbox():
    lines = sandbox(SERVICE)
    assert len(lines) > 40
    assert [line.rstrip() for line in lines if line] == [line.rstrip() for line in sandbox(DRAIN) if line]


def test_the_service_has_no_capability_and_writes_to_the_image_folder_only():
    found = settings(SERVICE, "Service")
    assert ("CapabilityBoundingSet", "") in found
    assert "AmbientCapabilities" not in dict(found)
    assert [value for key, value in found if key == "ReadWritePaths"] == ["-/sticky_pi_data"]
    assert "StateDirectory" not in dict(found)


def test_the_service_may_hear_from_the_kernel_that_the_network_came_back_and_change_nothing_there():
    found = dict(settings(SERVICE, "Service"))
    assert set(found["RestrictAddressFamilies"].split()) == {"AF_INET", "AF_INET6", "AF_UNIX", "AF_NETLINK"}
    assert (found["CapabilityBoundingSet"], found["NoNewPrivileges"]) == ("", "yes")


def test_only_one_of_the_services_works_at_a_time_and_the_second_waits_for_the_end_of_the_first():
    unit = settings(DRAIN, "Unit")
    assert ("Conflicts", SERVICE.name) in unit
    assert ("After", SERVICE.name) in unit


def test_a_shutdown_gives_a_round_the_time_that_it_takes():
    drain = dict(settings(DRAIN, "Service"))
    waits = float(re.search(r"timeout (\d+) ", drain["ExecStartPre"])[1])
    works = float(re.search(r"--deadline (\d+)", drain["ExecStart"])[1])
    ends = 8  # the seconds that the workers get to end
    assert drain["KillSignal"] == "SIGCONT"
    assert waits + works + ends < seconds(drain["TimeoutStopSec"]) < seconds(drain["TimeoutStartSec"])


def test_the_disk_and_the_network_outlive_both():
    for unit in (SERVICE, DRAIN):
        after = {name for key, value in settings(unit, "Unit") if key == "After" for name in value.split()}
        assert {"sticky_pi_data.mount", "local-fs.target", "network.target"} <= after


def test_a_configuration_that_cant_be_used_is_not_tried_again():
    service = dict(settings(SERVICE, "Service"))
    assert service["Restart"] == "always"
    assert set(service["RestartPreventExitStatus"].split()) == {"2", "78"}
    assert dict(settings(SERVICE, "Unit"))["StartLimitIntervalSec"] == "0"


def test_what_is_left_to_send_is_no_failure_of_a_round():
    assert dict(settings(DRAIN, "Service"))["SuccessExitStatus"] == "75"


def test_neither_waits_for_the_network_or_for_the_right_time():
    for unit in (SERVICE, DRAIN, TIMER):
        assert not re.search(r"network-online|time-sync|^OnCalendar", unit.read_text("utf-8"), flags=re.MULTILINE)


def test_they_call_commands_that_are_there():
    called = re.findall(
        r"^Exec\w+=.*sticky-pi-uploader (\w+)", SERVICE.read_text("utf-8") + DRAIN.read_text("utf-8"), re.MULTILINE
    )
    assert called == ["prepare", "run", "config", "prepare", "drain"]
    assert set(called) <= {command.name for command in COMMANDS}


@analyze
def test_systemd_understands_every_line(tmp_path):
    command = tmp_path / "sticky-pi-uploader"
    for unit in (SERVICE, DRAIN, TIMER):
        text = unit.read_text("utf-8").replace("sticky-pi-uploader prepare", f"{command} prepare")
        text = re.sub(r"^ExecStart=sticky-pi-uploader", f"ExecStart={command}", text, flags=re.MULTILINE)
        text = re.sub("^Documentation=.*\n", "", text, flags=re.MULTILINE)  # the page isn't installed here
        (tmp_path / unit.name).write_text(text, "utf-8")
    command.write_text("#!/bin/sh\n", "utf-8")
    command.chmod(0o755)
    units = [tmp_path / unit.name for unit in (SERVICE, DRAIN, TIMER)]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@analyze
@pytest.mark.parametrize("unit", [SERVICE, DRAIN], ids=["service", "drain"])
def test_systemd_scores_the_sandbox_as_1_5_or_better(unit):
    done = security(unit)
    assert done.returncode == 0, done.stdout


@analyze
def test_the_right_to_delete_pictures_costs_little(tmp_path):
    unit = tmp_path / SERVICE.name
    dropped_in = (SYSTEMD / "drop-ins" / "retention.conf").read_text("utf-8").partition("[Service]\n")[2]
    unit.write_text(SERVICE.read_text("utf-8").replace("\n[Install]", f"\n{dropped_in}\n[Install]"), "utf-8")
    done = security(unit)
    assert done.returncode == 0, done.stdout
    assert "✗ CapabilityBoundingSet=~CAP_(DAC_*" in done.stdout


def security(unit):
    command = ["systemd-analyze", "security", "--no-pager", "--offline=true", "--threshold=15", unit]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("example", sorted((SYSTEMD / "drop-ins").glob("*.conf")), ids=lambda path: path.stem)
def test_every_drop_in_says_where_it_goes(example):
    assert f"/etc/systemd/system/sticky-pi-uploader.service.d/{example.name}" in example.read_text("utf-8")
