"""The Debian package: what is in it, who owns it, and what dpkg and lintian think of it."""

import gzip
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
SYSTEMD = PROJECT / "systemd"
ABOUT = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))["project"]
NAME = "sticky-pi-uploader"
MODULES = "usr/lib/python3/dist-packages"
DOC = f"usr/share/doc/{NAME}"


def members(deb):
    content = subprocess.run(["dpkg-deb", "--fsys-tarfile", deb], check=True, capture_output=True, timeout=60).stdout
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        return archive.getmembers()


def field(deb, name):
    command = ["dpkg-deb", "--field", deb, name]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.strip()


def test_it_holds_both_packages_the_units_and_what_belongs_to_them(deb):
    modules = {str(path.relative_to(PROJECT / "daemon")) for path in (PROJECT / "daemon").rglob("*.py")}
    modules |= {"sticky_pi_api/py.typed", "sticky_pi_uploader/py.typed"}
    about = f"{NAME.replace('-', '_')}-{ABOUT['version']}.dist-info"
    modules |= {f"{about}/{name}" for name in ("METADATA", "INSTALLER", "entry_points.txt")}
    expected = {f"{MODULES}/{name}" for name in modules} | {
        f"usr/bin/{NAME}",
        f"usr/lib/systemd/system/{NAME}.service",
        f"usr/lib/systemd/system/{NAME}-drain.service",
        f"usr/lib/systemd/system/{NAME}-drain.timer",
        *(f"usr/lib/systemd/catalog/{path.name}" for path in SYSTEMD.glob("*.catalog")),
        f"usr/lib/sysusers.d/{NAME}.conf",
        f"usr/share/{NAME}/config.toml",
        f"usr/share/man/man8/{NAME}.8.gz",
        f"usr/share/bash-completion/completions/{NAME}",
        f"usr/share/lintian/overrides/{NAME}",
        *(f"{DOC}/{name}" for name in ("README.md.gz", "changelog.gz", "copyright")),
        *(f"{DOC}/examples/{path.name}" for path in (SYSTEMD / "drop-ins").glob("*.conf")),
    }
    assert {member.name.removeprefix("./") for member in members(deb) if not member.isdir()} == expected


def test_everything_is_roots_and_nobody_else_can_write_to_it(deb):
    command = f"./usr/bin/{NAME}"
    for member in members(deb):
        assert (member.uid, member.gid, member.uname, member.gname) == (0, 0, "root", "root")
        assert member.isdir() or member.isreg()
        assert member.mode == (0o755 if member.isdir() or member.name == command else 0o644), member.name


def test_its_version_is_the_one_of_the_python_package(deb, installed):
    assert deb.name == f"{NAME}_{ABOUT['version']}_all.deb"
    assert field(deb, "Version") == ABOUT["version"]
    changelog = gzip.decompress((installed / DOC / "changelog.gz").read_bytes()).decode()
    assert changelog.startswith(f"{NAME} ({ABOUT['version']}) ")


def test_it_depends_on_debians_packages_with_the_versions_that_python_asks_for(deb):
    depends = {each.strip() for each in field(deb, "Depends").split(",")}
    assert {
        "python3 (>= 3.11)",
        "python3-watchdog (>= 2.2.1)",
        "python3-pil (>= 9.4)",
        "python3-piexif (>= 1.1.3)",
        "python3-requests (>= 2.28)",
        "sqlite-utils (>= 3.30)",
        "python3-tenacity (>= 8.2)",
        "python3-systemd",
        "default-dbus-system-bus | dbus-system-bus",
    } <= depends
    assert len(depends) == len(ABOUT["dependencies"]) + 4  # python3, python3-systemd, D-Bus, and what makes the user
    assert field(deb, "Architecture") == "all"


def test_python_finds_its_distribution_there(installed):
    (folder,) = (installed / MODULES).glob("*.dist-info")
    distribution = PathDistribution(folder)
    assert (distribution.name, distribution.version) == (NAME, ABOUT["version"])
    assert set(distribution.requires) == set(ABOUT["dependencies"])
    (command,) = distribution.entry_points
    assert (command.name, command.value) == (NAME, ABOUT["scripts"][NAME])


def test_the_command_works_from_it_and_knows_its_version(installed):
    command = [sys.executable, "-c", f"import sys; sys.argv[:] = {[NAME, '--version']}; " + starter(installed)]
    environment = {**os.environ, "PYTHONPATH": str(installed / MODULES), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{NAME} {ABOUT['version']}\n", "")


def starter(installed):
    lines = (installed / "usr/bin" / NAME).read_text("utf-8").splitlines()
    # Isolated: a user's own Python packages are not the daemon's, with sudo least of all.
    assert lines[0] == "#!/usr/bin/python3 -I"
    return "; ".join(filter(None, lines[1:]))


def test_its_configuration_is_the_example_with_an_address_to_be_set(deb, installed):
    example = (PROJECT / "config/config.toml").read_text("utf-8").splitlines()
    configuration = (installed / "usr/share" / NAME / "config.toml").read_text("utf-8")
    assert tomllib.loads(configuration) == {"api": {"url": ""}, "retention": {}, "hold": {}}
    added = [line for line in configuration.splitlines() if line not in example]
    assert added == ["# The service waits until it is set here.", 'url = ""']
    assert [line for line in example if line not in configuration.splitlines()] == [
        '#url = "file:///sticky_pi_data/.sticky-pi-uploader/store"'
    ]


def test_dpkg_asks_nothing_about_the_configuration(deb):
    listed = subprocess.run(["dpkg-deb", "--ctrl-tarfile", deb], check=True, capture_output=True, timeout=60).stdout
    with tarfile.open(fileobj=io.BytesIO(listed)) as control:
        assert "conffiles" not in {os.path.basename(name) for name in control.getnames()}


def test_the_same_source_gives_the_same_package(build_deb, deb, tmp_path):
    before = os.umask(0o077)
    try:
        again = build_deb(tmp_path / "again", TZ="Asia/Tokyo", LC_ALL="C")
    finally:
        os.umask(before)
    assert again.read_bytes() == deb.read_bytes()


def test_every_time_in_it_is_the_one_that_is_asked_for(build_deb, deb, tmp_path):
    other = build_deb(tmp_path, SOURCE_DATE_EPOCH="1650000000")
    assert {member.mtime for member in members(other)} == {1650000000}
    assert other.read_bytes() != deb.read_bytes()


def test_the_sums_are_those_of_its_files(deb, installed):
    sums = subprocess.run(["dpkg-deb", "--info", deb, "md5sums"], check=True, capture_output=True, timeout=60).stdout
    checked = subprocess.run(["md5sum", "--check", "--quiet", "-"], input=sums, cwd=installed, check=False, timeout=60)
    assert checked.returncode == 0
    named = {line.split("  ", 1)[1] for line in sums.decode().splitlines()}
    files = {str(path.relative_to(installed)) for path in installed.rglob("*") if path.is_file()}
    assert named == files


@pytest.mark.parametrize("script", ["postinst", "prerm", "postrm"])
def test_the_scripts_of_the_package_are_plain_sh(deb, script):
    content = subprocess.run(["dpkg-deb", "--info", deb, script], check=True, capture_output=True, timeout=60).stdout
    assert content.startswith(b"#!/bin/sh\n")
    subprocess.run(["/bin/sh", "-n"], input=content, check=True, timeout=60)


def test_lintian_finds_nothing(deb, tmp_path):
    if shutil.which("lintian") is None:
        pytest.skip("there is no lintian here: apt-get install lintian")
    # It keeps files of its own below $HOME and $TMPDIR.
    environment = {**os.environ, "HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    command = ["lintian", "--fail-on", "error,warning", deb]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stdout) == (0, "")
