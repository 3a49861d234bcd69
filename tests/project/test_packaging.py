"""What `pip install` puts on a machine: both packages whole, the files of the service, and nothing else."""

import os
import subprocess
import sys
from email import message_from_bytes
from pathlib import Path
from zipfile import ZipFile

import pytest

PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    pytest.importorskip("hatchling", reason="no hatchling to build the wheel with: apt-get install python3-hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    built = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=120, check=False)
    assert built.returncode == 0, built.stderr
    (path,) = folder.iterdir()
    return path


def test_the_wheel_suits_every_machine(wheel):
    assert wheel.name.endswith("-py3-none-any.whl")


def test_the_wheel_holds_both_packages_with_their_types_the_files_of_the_service_and_nothing_else(wheel):
    source = PROJECT / "daemon"
    modules = {str(path.relative_to(source)) for path in source.rglob("*.py")}
    units = [path for path in (PROJECT / "systemd").glob("*.*") if path.suffix in (".service", ".timer", ".socket")]
    service = {
        "etc/sticky-pi-uploader/config.toml",
        "etc/sysusers.d/sticky-pi-uploader.conf",
        "usr/local/lib/systemd/catalog/sticky-pi-uploader.catalog",
        "usr/local/share/bash-completion/completions/sticky-pi-uploader",
        "usr/local/share/man/man8/sticky-pi-uploader.8",
        *(f"etc/systemd/system/{path.name}" for path in units),
        *(
            f"usr/local/share/doc/sticky-pi-uploader/examples/{path.name}"
            for path in (PROJECT / "systemd" / "drop-ins").glob("*.conf")
        ),
    }
    with ZipFile(wheel) as file:
        found = {name for name in file.namelist() if ".dist-info/" not in name}
        configuration = file.read("sticky_pi_uploader/share/etc/sticky-pi-uploader/config.toml").decode()
    share = {f"sticky_pi_uploader/share/{path}" for path in service}
    assert found == modules | share | {"sticky_pi_api/py.typed", "sticky_pi_uploader/py.typed"}
    assert '\nurl = ""\n' in configuration


def test_the_wheel_carries_command_licence_and_extras(wheel):
    with ZipFile(wheel) as file:
        about = {name.partition(".dist-info/")[2]: file.read(name) for name in file.namelist() if ".dist-info/" in name}
    assert b"sticky-pi-uploader = sticky_pi_uploader.__main__:start" in about["entry_points.txt"]
    assert about["licenses/LICENSE"] == (PROJECT / "LICENSE").read_bytes()
    metadata = message_from_bytes(about["METADATA"])
    assert metadata["Name"] == "sticky-pi-uploader"
    assert metadata["Requires-Python"] == ">=3.11"
    assert set(metadata.get_all("Provides-Extra")) == {"systemd", "test", "lint"}
    needs_compiler = [needed for needed in metadata.get_all("Requires-Dist") if needed.startswith("systemd-python")]
    assert [needed.partition(";")[2].strip().replace("'", '"') for needed in needs_compiler] == ['extra == "systemd"']


def test_help_comes_from_the_wheel_alone(wheel):
    environment = {**os.environ, "PYTHONPATH": str(wheel)}
    command = [sys.executable, "-S", "-m", "sticky_pi_uploader", "--help"]
    helped = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (helped.returncode, helped.stderr) == (0, "")
    assert helped.stdout.startswith("usage: sticky-pi-uploader")
