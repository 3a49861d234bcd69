import os

import pytest
from sticky_pi_uploader.ownership.run_as_service import _accepted, _from_here, _without_unit
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


@pytest.fixture
def folder_of_anybodys(tmp_path, monkeypatch):
    """Work in a folder that others than root may replace."""
    tmp_path.chmod(0o777)
    folder = tmp_path / "below"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_a_path_from_a_folder_that_is_not_handed_on_is_made_absolute(folder_of_anybodys):
    (folder_of_anybodys / "x.jpg").touch()
    for file in ("x.jpg", "./x.jpg", "./lost.jpg"):
        assert _from_here(file) == str(folder_of_anybodys / os.path.basename(file))
    for file in ("lost.jpg", "below/the-image-folder.jpg", "/x.jpg"):
        assert _from_here(file) == file


def test_a_path_from_a_folder_that_is_handed_on_stays(monkeypatch):
    monkeypatch.chdir("/")
    assert _from_here("./etc") == "./etc"


@pytest.mark.parametrize(
    ("command", "flags", "goes_on"),
    [
        ("retry", {}, True),
        ("dismiss", {}, True),
        ("audit", {"verify": False}, True),
        ("audit", {"verify": True}, False),
        ("drain", {}, False),
        ("check", {}, False),
        ("retry", {"state_dir": "{folder}/none"}, False),
    ],
)
def test_without_a_unit_only_commands_go_on_that_need_no_password_and_find_the_services_state(
    tmp_path, command, flags, goes_on
):
    (tmp_path / "state").mkdir()
    (tmp_path / "config.toml").write_text(f'state_dir = "{tmp_path}/state"\n')
    unit = ServiceUnit(SERVICE, (f"ExecStart=sticky-pi-uploader run --config={tmp_path}/config.toml",))
    given = {name: value.format(folder=tmp_path) if isinstance(value, str) else value for name, value in flags.items()}
    view = _without_unit(unit, "no bus", command, {"config_file": f"{tmp_path}/config.toml", **given})
    assert view.is_outsider == (not goes_on)
    assert view.note.startswith("no bus")


def test_without_a_unit_no_command_goes_on_with_another_configuration_than_the_services(tmp_path):
    (tmp_path / "config.toml").write_text(f'state_dir = "{tmp_path}"\nimage_dir = "/srv/pictures"\n')
    unit = ServiceUnit(SERVICE, (f"ExecStart=sticky-pi-uploader run --config={tmp_path}/config.toml",))
    assert _without_unit(unit, "no bus", "retry", {"state_dir": str(tmp_path)}).is_outsider
