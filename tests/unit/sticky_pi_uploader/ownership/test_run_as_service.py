import os

import pytest
from sticky_pi_uploader.ownership.run_as_service import _accepted
from sticky_pi_uploader.ownership.service_unit import SERVICE, ServiceUnit

LINES = ("User=sticky-pi-uploader", "ProtectSystem=strict", "Nice=5")


@pytest.fixture
def systemd_run(tmp_path, monkeypatch):
    """Put a program in the place of systemd-run."""
    program = tmp_path / "systemd-run"
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)

    def write(script):
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)

    return write


def refuses(line):
    message = f'echo "Unknown assignment: {line}" >&2; exit 1'
    return f'case "$*" in *--property={line}*) {message};; esac'


def test_lines_that_systemd_does_not_know_are_left_out(systemd_run):
    systemd_run(f"{refuses('ProtectMoon=yes')}\n{refuses('ReadWritePath=/mnt/usb')}")
    assert _accepted(ServiceUnit(SERVICE, (*LINES, "ProtectMoon=yes", "ReadWritePath=/mnt/usb"))) == ([*LINES], None)


def test_without_the_bus_no_line_is_left_out(systemd_run, tmp_path):
    # It is back at the second call.
    away = 'echo "Failed to connect to bus: No such file or directory" >&2; exit 1'
    systemd_run(f"[ -e {tmp_path}/called ] || {{ touch {tmp_path}/called; {away}; }}")
    lines, problem = _accepted(ServiceUnit(SERVICE, LINES))
    assert lines == [*LINES]
    assert problem == "Failed to connect to bus: No such file or directory"


@pytest.mark.parametrize("line", ["User=sticky-pi-uploader", "ProtectSystem=strict"])
def test_no_line_that_takes_rights_away_is_ever_left_out(systemd_run, line):
    systemd_run(refuses(line))
    lines, problem = _accepted(ServiceUnit(SERVICE, LINES))
    assert line in lines
    assert problem == f"Unknown assignment: {line}"
