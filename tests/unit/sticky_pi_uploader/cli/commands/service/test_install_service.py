import os
import sys
from pathlib import Path

import pytest
from program import python
from sticky_pi_uploader.cli import main as cli
from sticky_pi_uploader.cli.commands.service.install_service import install
from sticky_pi_uploader.exceptions import StateError

PROGRAM = "/opt/sticky-pi-uploader/bin/sticky-pi-uploader"
UNIT = """\
[Service]
ExecStartPre=-+nsenter --mount=/proc/1/ns/mnt sticky-pi-uploader prepare --user sticky-pi-uploader
ExecStart=sticky-pi-uploader run
SyslogIdentifier=sticky-pi-uploader
"""

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: what root alone can write is told from the rest")


@pytest.fixture
def share(tmp_path):
    """Return the files that a wheel carries, two of them."""
    folder = tmp_path / "share"
    for path, content in (
        ("etc/systemd/system/sticky-pi-uploader.service", UNIT),
        ("etc/sticky-pi-uploader/config.toml", "# as it comes\n"),
    ):
        (folder / path).parent.mkdir(parents=True)
        (folder / path).write_text(content, "utf-8")
    return str(folder)


@pytest.fixture
def root(tmp_path):
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def test_the_units_call_this_very_program_and_the_command_is_known_by_its_name(share, root, capsys):
    assert install(PROGRAM, share, str(root)) == 0
    unit = (root / "etc/systemd/system/sticky-pi-uploader.service").read_text("utf-8")
    assert unit.splitlines()[1:] == [
        f"ExecStartPre=-+nsenter --mount=/proc/1/ns/mnt {PROGRAM} prepare --user sticky-pi-uploader",
        f"ExecStart={PROGRAM} run",
        "SyslogIdentifier=sticky-pi-uploader",
    ]
    assert os.readlink(root / "usr/local/bin/sticky-pi-uploader") == PROGRAM
    assert capsys.readouterr().out.splitlines() == [
        f"wrote {root}/etc/sticky-pi-uploader/config.toml",
        f"wrote {root}/etc/systemd/system/sticky-pi-uploader.service",
        f"wrote {root}/usr/local/bin/sticky-pi-uploader, a link to {PROGRAM}",
    ]
    assert install(PROGRAM, share, str(root)) == os.EX_OK
    assert all(line.startswith("unchanged: ") for line in capsys.readouterr().out.splitlines())


def test_the_administrators_files_are_kept_and_that_is_said(share, root, capsys):
    install(PROGRAM, share, str(root))
    config = root / "etc/sticky-pi-uploader/config.toml"
    config.write_text("image_dir = '/card'\n", "utf-8")
    unit = root / "etc/systemd/system/sticky-pi-uploader.service"
    for number, kept in (("", "first"), ("2", "second")):
        unit.write_text(f"# {kept}\n", "utf-8")
        capsys.readouterr()
        assert install(PROGRAM, share, str(root)) == 0
        said = capsys.readouterr().out
        assert f"kept, as it is yours: {config}\n" in said
        assert f"wrote (the one before is sticky-pi-uploader.service.old{number} now) {unit}\n" in said
        assert Path(f"{unit}.old{number}").read_text("utf-8") == f"# {kept}\n"
        assert unit.read_text("utf-8").startswith("[Service]\n")
    assert config.read_text("utf-8") == "image_dir = '/card'\n"
    assert sorted(os.listdir(unit.parent)) == [unit.name, f"{unit.name}.old", f"{unit.name}.old2"]


def test_a_file_that_is_a_link_stays_as_a_masked_unit_is_one(share, root, capsys):
    unit = root / "etc/systemd/system/sticky-pi-uploader.service"
    unit.parent.mkdir(parents=True)
    unit.symlink_to("/dev/null")
    assert install(PROGRAM, share, str(root)) == os.EX_IOERR
    assert os.readlink(unit) == "/dev/null"
    assert capsys.readouterr().err == f"sticky-pi-uploader: {unit} isn't written: it is a link, not a file\n"


def test_another_command_of_the_same_name_stays(share, root, capsys):
    other = root / "usr/local/bin/sticky-pi-uploader"
    other.parent.mkdir(parents=True)
    other.write_text("#!/bin/sh\n", "utf-8")
    assert install(PROGRAM, share, str(root)) == os.EX_IOERR
    assert other.read_text("utf-8") == "#!/bin/sh\n"
    assert f"{other} isn't written" in capsys.readouterr().err


@as_root
def test_roots_links_are_followed_and_those_in_a_folder_that_others_can_write_are_not(share, root, tmp_path, capsys):
    (tmp_path / "disk").mkdir()
    (root / "etc").symlink_to(tmp_path / "disk")
    assert install(PROGRAM, share, str(root)) == 0
    assert (tmp_path / "disk/sticky-pi-uploader/config.toml").exists()
    (root / "usr/local").mkdir(parents=True, exist_ok=True)
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    (open_to_all / "etc").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").mkdir()
    capsys.readouterr()
    assert install(PROGRAM, share, str(open_to_all)) == os.EX_IOERR
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert "it is a link, not a folder" in capsys.readouterr().err


def test_an_installation_without_the_files_says_why(root):
    with pytest.raises(StateError, match="carries no files of a service: Debian's package has installed them itself"):
        install(PROGRAM, str(root / "none"), str(root))


@as_root
def test_a_program_that_others_can_change_isnt_made_roots_service(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "venv"
    folder.mkdir()
    folder.chmod(0o777)
    monkeypatch.setattr(sys, "argv", [str(folder / "sticky-pi-uploader")])
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(folder / "no"))
    assert cli.main(["install-service"]) == 74
    assert f"others can write {folder}: install it where only root can write" in capsys.readouterr().err


@as_root
def test_without_root_it_names_sudo():
    script = """if True:
        import os, sys, sysconfig
        import sticky_pi_uploader.journal.setup
        from sticky_pi_uploader.cli.main import main
        sysconfig.get_path("scripts")  # what is loaded now, others may have no right to read
        main(["install-service", "--help"])
        os.setuid(65534)
        sys.exit(main(["install-service"]))
    """
    done = python(script)
    assert done.returncode == 74
    assert "only root can install the service: sudo " in done.stderr
