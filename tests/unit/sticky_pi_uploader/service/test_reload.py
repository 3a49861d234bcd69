import logging
import os
import shutil

import pytest
from program import eventually
from sticky_pi_uploader import config as configuration
from sticky_pi_uploader.service.reload import LOOK_EVERY, ReloadableConfig, file_version
from sticky_pi_uploader.service.systemd import ServiceManager
from sticky_pi_uploader.upload.client_factory import client_opener


class Files:
    """The configuration of a trap that sends to a server, with the files that it names; `now` is its clock."""

    def __init__(self, folder):
        self.now = 1000.0
        self.password = folder / "password"
        self.certificates = folder / "ca.pem"
        self.config = folder / "config.toml"
        self.environ = {}
        self.write_password("wrong")
        self.certificates.write_text("one")
        self.write_config()

    def write_password(self, password, mode=0o600):
        self.password.write_text(f"{password}\n")
        self.password.chmod(mode)

    def wait_for_later_time(self):
        """Wait until another change of the password's file gets another time: the kernel's clock has steps."""
        other = self.password.with_name("other")

        def is_later():
            other.write_text("")
            return other.stat().st_ctime_ns > self.password.stat().st_ctime_ns

        eventually(is_later)

    def write_config(self, more=""):
        lines = ['url = "https://sticky-pi.example.org"', 'username = "trap"', f'ca_file = "{self.certificates}"', more]
        lines += [] if self.environ else [f'password_file = "{self.password}"']
        self.config.write_text("\n".join(["[api]", *lines, ""]))

    def load(self):
        config = configuration.load({}, self.environ, str(self.config), check_secrets=True)
        return config._replace(api=config.api.with_certificates())

    def reloadable(self):
        options = {"check": client_opener, "environ": self.environ, "monotonic": lambda: self.now}
        return ReloadableConfig(self.load, ServiceManager({}), **options)


@pytest.fixture
def files(tmp_path):
    (tmp_path / "etc").mkdir()
    return Files(tmp_path / "etc")


def look(files, config, times=3):
    """Look at the files as often; return which of the looks took one."""
    taken = []
    for number in range(times):
        files.now += LOOK_EVERY
        if config.take_changed_files():
            taken.append(number)
    return taken


def test_a_password_that_was_corrected_is_taken_at_the_second_look_and_the_wait_ends(files):
    config = files.reloadable()
    assert look(files, config) == []
    assert not config.take_end_of_wait()
    files.write_password("right")
    assert look(files, config) == [1]
    assert config.current.api.password.reveal() == "right"
    assert config.take_end_of_wait()
    assert not config.take_end_of_wait()


def test_certificates_that_were_changed_are_taken_even_where_they_come_later(files):
    files.certificates.unlink()
    config = files.reloadable()
    assert look(files, config) == []
    for content in ("two", "three"):
        before = config.current
        files.certificates.write_text(content)
        assert look(files, config) == [1]
        assert config.current != before
        assert config.take_end_of_wait()


def test_a_file_that_was_changed_right_after_it_was_read_is_taken_too(files):
    config = files.reloadable()
    files.write_password("right")
    assert look(files, config) == [1]


def test_a_file_that_is_still_being_written_is_not_read_yet(files):
    config = files.reloadable()
    for length in range(1, 5):
        files.write_password("right" * length)
        assert look(files, config, times=1) == []
    assert look(files, config) == [0]


def test_a_file_that_was_touched_changes_nothing(files, caplog):
    caplog.set_level(logging.INFO)
    config = files.reloadable()
    look(files, config)
    files.write_password("wrong")
    assert look(files, config) == []
    assert not config.take_end_of_wait()
    assert caplog.messages == []


def test_the_rest_of_a_configuration_is_taken_by_a_reload_alone(files):
    config = files.reloadable()
    files.write_config("parallel = 2")
    files.write_password("right")
    assert look(files, config) == [1]
    assert config.current.api.parallel is None
    assert config.reload()
    assert config.current.api.parallel == 2


def test_a_changed_file_that_cannot_be_used_is_trouble_until_it_can(files, caplog):
    config = files.reloadable()
    files.write_password("right", 0o644)
    assert look(files, config) == []
    (trouble,) = config.refusals
    assert trouble.what.startswith("the password's file was changed, but the password from before stays in force: ")
    assert trouble.what.endswith(f"can be read by others than its owner: chmod 600 {files.password}")
    assert config.current.api.password.reveal() == "wrong"
    assert caplog.text.count("can be read by others") == 1
    files.write_password("right")
    assert look(files, config) == [1]
    assert config.refusals == []


def chown(path):
    os.chown(path, os.getuid(), os.getgid())


def replace_folder(path):
    """Put another folder in the place of the file's, with a file of the same name, size and time."""
    folder, old = path.parent, path.parent.with_name("old")
    folder.rename(old)
    folder.mkdir()
    for name in ("password", "ca.pem", "config.toml"):
        shutil.copy2(old / name, folder / name)


@pytest.mark.parametrize(
    "change", [lambda path: path.chmod(0o640), chown, replace_folder], ids=["chmod", "chown", "mv"]
)
def test_a_change_of_rights_or_of_the_folder_is_a_change_of_the_file(files, change):
    before = file_version(str(files.password))
    files.wait_for_later_time()
    change(files.password)
    assert file_version(str(files.password)) != before


def test_a_password_file_whose_mode_is_corrected_is_taken(files):
    config = files.reloadable()
    files.write_password("right", 0o644)
    assert look(files, config) == []
    assert len(config.refusals) == 1
    files.wait_for_later_time()
    files.password.chmod(0o600)
    assert look(files, config) == [1]
    assert config.current.api.password.reveal() == "right"
    assert config.refusals == []


def test_a_changed_file_does_not_excuse_a_refused_reload_and_the_other_way_round(files):
    config = files.reloadable()
    files.write_config("parallel = 'many'")
    assert not config.reload()
    assert not config.take_end_of_wait()
    files.write_password("right")
    assert look(files, config) == [1]
    assert len(config.refusals) == 1
    files.write_password("right", 0o644)
    look(files, config)
    assert len(config.refusals) == 2
    files.write_config()
    files.write_password("right")
    assert not config.reload()
    assert config.refusals == []
    assert config.take_end_of_wait()


@pytest.mark.parametrize("from_systemd", [False, True], ids=["password_file", "credential"])
def test_a_reload_says_where_only_a_restart_reads_the_password_again(files, tmp_path, caplog, from_systemd):
    caplog.set_level(logging.INFO)
    if from_systemd:
        (tmp_path / "api-password").write_text("pollen")
        files.environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
        files.write_config()
    config = files.reloadable()
    assert not config.reload()
    more = "; a password in /etc/credstore is read again at a restart" if from_systemd else ""
    assert caplog.messages == [f"the configuration was reloaded: nothing has changed{more}"]
    assert config.take_end_of_wait()
