import argparse
import os
import re
import tomllib
from pathlib import Path

import pytest
from program import loaded_by, python
from sticky_pi_api.transport.credentials import Secret
from sticky_pi_uploader import config as config_module
from sticky_pi_uploader.config import Config, add_flags, from_arguments
from sticky_pi_uploader.config.model import HoldConfig
from sticky_pi_uploader.config.schema import SCHEMA, SECTIONS
from sticky_pi_uploader.config.toml import as_toml
from sticky_pi_uploader.config.values import Space
from sticky_pi_uploader.exceptions import ConfigError

EXAMPLE = Path(__file__).parents[4] / "config" / "config.toml"
NOWHERE = "/nonexistent/config.toml"


def load(flags=(), environ=(), config_file=None, **more):
    """Load without what this machine may have in /etc."""
    return config_module.load(dict(flags), dict(environ), config_file, **{"default_file": NOWHERE, **more})


def problems(*args, **more):
    with pytest.raises(ConfigError) as caught:
        load(*args, **more)
    assert caught.value.exit_status == 78
    return caught.value.problems


@pytest.fixture
def written(tmp_path):
    """Write a configuration file and return its path."""

    def write(content):
        path = tmp_path / "config.toml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


# --- sources -----------------------------------------------------------------------------------------------------


def test_without_any_configuration_the_defaults_hold():
    config = load()
    assert config.image_dir == "/sticky_pi_data"
    assert config.state_dir == "/sticky_pi_data/.sticky-pi-uploader"
    assert config.scan_interval == 600
    assert config.api.url == "file:///sticky_pi_data/.sticky-pi-uploader/store"
    assert config.api.store == "/sticky_pi_data/.sticky-pi-uploader/store"
    assert (config.api.username, config.api.password, config.api.password_file, config.api.ca_file) == (None,) * 4
    assert (config.api.allow_http, config.api.parallel, config.api.max_rate) == (False, None, None)
    assert config.api.give_up_after == 5
    assert (config.api.order, config.sends_a_sample) == ("auto", False)
    assert config.retention.keep_days is None
    assert config.retention.min_free == Space(percent=15.0)
    assert config.retention.keep_record_days == 400
    assert config.retention.also_remove == ()
    assert config.file is None


def test_the_state_follows_the_image_folder_and_the_store_follows_the_state():
    assert load({"image_dir": "/a"}).api.store == "/a/.sticky-pi-uploader/store"
    assert load({"image_dir": "/a", "state_dir": "/b"}).api.store == "/b/store"


def test_flags_win_over_the_environment_which_wins_over_the_file_which_wins_over_defaults(written):
    file = written('image_dir = "/file"\nstate_dir = "/file-state"\n[api]\nusername = "file"\ngive_up_after = 7\n')
    config = load({"image_dir": "/flag"}, {"SPI_IMAGE_DIR": "/env", "SPI_STATE_DIR": "/env-state"}, file)
    assert (config.image_dir, config.state_dir, config.api.username) == ("/flag", "/env-state", "file")
    assert (config.api.give_up_after, config.scan_interval, config.file) == (7, 600, file)


def test_an_empty_environment_variable_counts_as_not_set():
    names = [name for key in SCHEMA for name in key.environment]
    assert load({}, dict.fromkeys(names, "")) == load()


def test_an_absent_flag_counts_as_not_set():
    assert load(dict.fromkeys(key.name for key in SCHEMA)) == load()


def test_other_variables_of_the_trap_are_none_of_ours():
    assert load({}, {"SPI_VERSION": "3", "SPI_DRIVE_LABEL": "x"}) == load()


def test_an_address_in_the_environment_wins_over_a_host_name_there():
    assert load({}, {"SPI_API_HOSTNAME": "b.org"}).api.url == "https://b.org"
    assert load({}, {"SPI_API_HOSTNAME": "b.org:8443"}).api.url == "https://b.org:8443"
    assert load({}, {"SPI_API_HOSTNAME": "b.org", "SPI_API_URL": "https://a.org"}).api.url == "https://a.org"
    assert load({}, {"SPI_API_HOSTNAME": "b.org", "SPI_API_URL": ""}).api.url == "https://b.org"


def test_a_host_name_that_is_an_address_is_refused():
    assert problems({}, {"SPI_API_HOSTNAME": "https://b.org"})[0].startswith("SPI_API_HOSTNAME: expected")


def test_a_wrong_variable_that_a_flag_overrides_does_no_harm_but_a_wrong_file_must_be_mended(written):
    assert load({"image_dir": "/a"}, {"SPI_IMAGE_DIR": "relative"}).image_dir == "/a"
    assert len(problems({"image_dir": "/a"}, {}, written("image_dir = 3"))) == 1


# --- the file ----------------------------------------------------------------------------------------------------


def test_the_default_file_is_read_if_it_is_there(written):
    file = written('image_dir = "/x"')
    config = load(default_file=file)
    assert (config.image_dir, config.file) == ("/x", file)


def test_a_wrong_default_file_is_an_error_too(written):
    assert problems(default_file=written("["))[0].startswith(written("["))


def test_a_named_file_that_is_not_there_is_an_error(tmp_path):
    assert problems({}, {}, str(tmp_path / "gone.toml")) == (f"{tmp_path}/gone.toml: isn't there",)


def test_a_folder_is_no_file(tmp_path):
    assert problems({}, {}, str(tmp_path)) == (f"{tmp_path}: can't be read: Is a directory",)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_a_file_that_may_not_be_read_is_named_with_what_to_do(written):
    file = written("")
    os.chmod(file, 0)
    code = f"""if True:
        import os
        from sticky_pi_uploader import config, exceptions
        config.load({{}}, {{}}, "/dev/null")  # imports what only root may have access to
        os.setuid(65534)
        try:
            config.load({{}}, {{}}, {file!r})
        except exceptions.ConfigError as error:
            print(error)
        """
    assert python(code, check=True).stdout == f"{file}: can't be read: Permission denied; try it with sudo\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"image_dir = /x", "isn't TOML: Invalid value (at line 1, column 13)"),
        (b"image_dir = '/x'\nimage_dir = '/y'", ", line 2: image_dir stands in line 1 already: change it there"),
        (b"[api]\n[api]\n", ", line 2: [api] stands in line 1 already: change it there"),
        (b"a = {b = 1, b = 2}", "isn't TOML: "),
        (b"a = \na = 1\n", "isn't TOML: Invalid value (at line 1, "),
        (b"a = " + b"[" * 5000, "isn't TOML: "),
        (b"scan_interval = " + b"9" * 5000, "isn't TOML: "),
        (b"\0", "isn't TOML: "),
        (b"# ok\nimage_dir = '/\xe9'", "isn't UTF-8 text"),
        ("image_dir = '/x'".encode("utf-16"), "isn't UTF-8 text"),
        (b"\xff\xd8\xff\xe1", "isn't UTF-8 text"),
        (b"#" * 10_000_000, "is larger than 1 MB: is it the right file?"),
    ],
    ids=[
        "no quotes",
        "twice",
        "section twice",
        "twice inside",
        "no value",
        "brackets",
        "digits",
        "zero",
        "latin",
        "utf-16",
        "jpeg",
        "10 MB",
    ],
)
def test_what_is_not_toml_is_one_clear_message(written, content, said):
    (problem,) = problems({}, {}, written(content))
    assert said in problem
    assert problem.startswith(written(content))


def test_a_section_that_is_added_although_it_is_there_already_is_named_with_its_line_and_so_are_its_keys(written):
    content = (
        b'image_dir = "/x"\n\n[api]\nurl = ""\n[retention]\n\n[ api ] # mine\nurl = "https://host"\nparallel = 2\n'
    )
    path = written(content)
    assert list(problems({}, {}, path)) == [
        f"{path}, line 7: [api] stands in line 3 already: change it there",
        f"{path}, line 8: [api] url stands in line 4 already: change it there",
    ]


def test_the_mark_that_windows_editors_leave_and_their_line_ends_do_no_harm(written):
    assert load({}, {}, written(b'\xef\xbb\xbfimage_dir = "/x"\r\n[api]\r\nparallel = 3\r\n')).api.parallel == 3


def test_an_empty_file_and_an_empty_section_are_fine(written):
    assert load({}, {}, written("")).api == load({}, {}, written("[api]\n[retention]\n")).api == load().api


def test_no_file_at_all_can_be_said_with_dev_null():
    assert load({}, {}, "/dev/null").image_dir == "/sticky_pi_data"


# --- unknown keys ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('image_dri = "/x"', "line 1: image_dri isn't a key; did you mean image_dir?"),
        ('image-dir = "/x"', "line 1: image-dir isn't a key; did you mean image_dir?"),
        ('\n[api]\nusrname = "x"', "line 3: [api] usrname isn't a key; did you mean [api] username?"),
        ('url = "https://x"', "line 1: url isn't a key; did you mean [api] url?"),
        ("[api]\nkeep_days = 3", "line 2: [api] keep_days isn't a key; did you mean [retention] keep_days?"),
        ("[retentoin]\nkeep_days = 3", "line 1: retentoin isn't a key; did you mean [retention]?"),
        ("[[api]]\nparallel = 3", "api is a section: expected a line [api]"),
        ('api = "https://x"', "line 1: api is a section: expected a line [api], and its keys below"),
        ("api.parralel = 3", "line 1: [api] parralel isn't a key; did you mean [api] parallel?"),
        ("zzz = 1", "line 1: zzz isn't a key"),
        ('"" = 1', "'' isn't a key"),
        ('"api.url" = "https://x.org"', '"api.url" isn\'t a key; did you mean [api] url?'),
        ('[api]\n"a.b" = 1', "[api] a.b isn't a key"),
        ('"\\u001b[31m" = 1', "'\\x1b[31m' isn't a key"),
        ('[api]\npassword = "hunter2"', "[api] password: a password doesn't belong here"),
        ('password = "hunter2"', "password: a password doesn't belong here"),
    ],
)
def test_an_unknown_key_is_named_with_the_one_that_was_probably_meant(written, content, said):
    (problem,) = problems({}, {}, written(content))
    assert said in problem
    assert "hunter2" not in problem


def test_a_thousand_unknown_keys_are_all_named(written):
    assert len(problems({}, {}, written("".join(f"k{n} = 1\n" for n in range(1000))))) == 1000


# --- values ------------------------------------------------------------------------------------------------------

PATHS = ["image_dir", "state_dir", "api.password_file", "api.ca_file"]
NUMBERS = ["scan_interval", "api.parallel", "api.give_up_after", "retention.keep_days", "retention.keep_record_days"]
NOT_TEXT = ["1", "true", "1.5", "inf", "nan", "[]", '["/a"]', "{}", "{a = 1}", "2020-06-20", "12:00:00"]
NOT_NUMBERS = [
    *("true", "false", "1.0", "inf", "-inf", "nan", '"1"', "[]", "[1]", "{}", "2020-06-20", "-1", '""'),
    *("99999999", "9" * 40, "-" + "9" * 40, "0x" + "f" * 5000),
]
WRONG = [
    *((name, value) for name in PATHS for value in [*NOT_TEXT, '""', '"relative"', '"~/x"', '"/\\u0000"', '"./x"']),
    *((name, value) for name in NUMBERS for value in NOT_NUMBERS),
    *(("scan_interval", value) for value in ("0", "86401")),
    *(("api.parallel", value) for value in ("0", "33")),
    ("api.give_up_after", "0"),
    ("retention.keep_record_days", "0"),
    *(("retention.also_remove", value) for value in ("1", "true", '"suspect"', '["suspicious"]', "[1]", '["pending"]')),
    *(("api.order", value) for value in [*NOT_TEXT, '""', '"oldest"', '"Spread"', '["spread"]']),
    *(("api.allow_http", value) for value in ('"true"', "1", "0", "[]", "{}", "1.0", '"yes"')),
    *(("api.username", value) for value in [*NOT_TEXT, '""', '"a:b"', '"a\\nb"']),
    *(("api.max_rate", value) for value in ("0", "999", "true", "1e6", "inf", "nan", '"50 %"', '"fast"', "[]", "{}")),
    *(("api.max_rate", value) for value in ('"999999999999999 TB"', "9" * 40, '"1 B"', '"-50 kB"', '"50"', '""')),
    *(
        ("retention.min_free", value)
        for value in ("true", "1.5", "-1", "inf", "nan", "[]", "{}", '""', '"15"', '"-1 %"')
    ),
    *(("retention.min_free", value) for value in ('"100 %"', '"1e3 %"', '"nan %"', '"inf %"', '"15 percent"', '"٣ %"')),
    *(("retention.min_free", value) for value in ("9" * 40, '"5 XB"', '"1,5 GB"', '"' + "9" * 400 + ' %"')),
    *(("hold.battery_below", value) for value in (*NOT_NUMBERS, "0", "101", '"30 %"')),
    *(("hold.hours", value) for value in ("1", "true", '"10:00-16:00"', "{}", "12:00:00", "[1]", "[true]", "[[]]")),
    *(
        ("hold.hours", f'["06:00-08:00", "{value}"]')
        for value in ("", "10:00", "10-16", "9:00-16:00", "10:00-24:01", "24:00-10:00", "10:60-16:00", "10:00 - 16:00")
    ),
    *(("hold.hours", f'["{value}"]') for value in ("10:00-16:00Z", "-10:00-16:00", "10:00-10:00", "00:00-00:00")),
    *(("api.url", value) for value in [*NOT_TEXT, '"x"', '"/x"', '"ftp://x"', '"https:x"', '"https//x"']),
    *(("api.url", value) for value in ('"https://"', '"https:///"', '"https://:443"', '"https://x:y"')),
    *(("api.url", f'"https://{host}"') for host in ("x:0", "x:65536", "x:99999999", "x:٣", "x:-1", "x: 1", "x:1:2")),
    *(("api.url", f'"https://{host}"') for host in ("x/y", "x//", "x?", "x?a=b", "x#", "x#f", "x y", " x", "x\\\\y")),
    *(("api.url", f'"https://{host}"') for host in ("-x", "x-", "x..y", ".x", "[::1", "::1", "[x]", "[]", "ü.org")),
    *(("api.url", f'"https://{host}"') for host in ("a" * 254, "a_" * 100_000, "x\\n", "x\\u0000", "x\\t/", "%41")),
    *(("api.url", f'"file:{rest}"') for rest in ("", "/x", "//x", "//host/x", "///x?y", "///x#y", "///%00", "///x\\n")),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_wrong_value_is_refused_with_its_file_line_key_and_what_was_expected(written, name, value):
    section, _, key = name.rpartition(".")
    file = written(f"# first\n[{section}]\n{key} = {value}\n" if section else f"# first\n\n{key} = {value}\n")
    (problem,) = problems({}, {}, file)
    shown = f"[{section}] {key}" if section else key
    assert problem.startswith(f"{file}, line 3: {shown}: expected ")
    assert len(problem.removeprefix(file)) < 300
    assert problem.isprintable()


@pytest.mark.parametrize("name", [*PATHS, *NUMBERS, "api.url", "api.username", "api.allow_http", "retention.min_free"])
def test_a_section_where_a_value_is_wanted_is_refused(written, name):
    (problem,) = problems({}, {}, written(f"[{name}]\nx = 1\n"))
    assert f"line 1: {next(key for key in SCHEMA if key.name == name)}: expected " in problem
    assert problem.endswith(", not a section")


def test_hours_that_are_empty_are_named_with_their_key_and_value(written):
    (problem,) = problems({}, {}, written('[hold]\nhours = ["06:00-08:00", "10:00-10:00"]\n'))
    assert "[hold] hours: expected hours that end later than they begin; '10:00-10:00' is empty" in problem


@pytest.mark.parametrize("hours", ["10:00-16:00", "22:00-04:00", "00:00-24:00", "00:01-00:00", "23:59-00:00"])
def test_hours_may_be_several_and_go_over_midnight(written, hours):
    file = written(f'[hold]\nhours = ["06:00-08:00", "{hours}", "{hours}"]\n')
    assert load({}, {}, file).hold == HoldConfig(hours=("06:00-08:00", hours))


def test_nothing_is_held_unless_that_is_configured(written):
    assert not load().hold.is_on
    assert not load({}, {}, written("[hold]\nhours = []\n")).hold.is_on
    assert load({}, {}, written("[hold]\nbattery_below = 1\n")).hold.is_on
    assert load({}, {}, written('[hold]\nhours = ["10:00-16:00"]\n')).hold.is_on


def test_all_problems_are_reported_at_once_each_with_its_place(written):
    file = written(
        'image_dir = "pictures"\nscan_intervall = 5\n[api]\nparallel = true\nurl = "gopher://x"\n'
        '[retention]\nkeep_days = "lots"\n'
    )
    found = problems({"api.username": ""}, {"SPI_STATE_DIR": "state"}, file)
    assert found == (
        f"{file}, line 2: scan_intervall isn't a key; did you mean scan_interval?",
        f"{file}, line 1: image_dir: expected an absolute path, one that begins with /, not 'pictures'",
        f"{file}, line 5: [api] url: expected https://host, https://host:port or file:///folder, not 'gopher://x'",
        f"{file}, line 4: [api] parallel: expected a whole number from 1 to 32, without quotes, not true",
        f"{file}, line 7: [retention] keep_days: expected a whole number from 0 to 36500, without quotes, not 'lots'",
        "SPI_STATE_DIR: expected an absolute path, one that begins with /, not 'state'",
        "--username: expected a user name in quotes, without a colon, not ''",
    )


def test_a_file_that_can_not_be_read_does_not_hide_what_else_is_wrong():
    assert len(problems({"image_dir": ""}, {"SPI_API_URL": "x"}, NOWHERE)) == 3


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("/a/b/", "/a/b"),
        ("//a//b/./c/..", "/a/b"),
        ("/a b/ü", "/a b/ü"),
        ("/a/~", "/a/~"),
        ("/a\udcff", "/a\udcff"),
    ],
)
def test_paths_are_normalised(given, meant):
    assert load({"image_dir": given}).image_dir == load({}, {"SPI_IMAGE_DIR": given}).image_dir == meant


def test_a_relative_flag_starts_at_the_current_folder_and_a_relative_variable_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = load({"image_dir": "pictures", "state_dir": "../state", "api.password_file": "pw"})
    assert (config.image_dir, config.api.password_file) == (f"{tmp_path}/pictures", f"{tmp_path}/pw")
    assert config.state_dir == f"{tmp_path.parent}/state"
    assert problems({}, {"SPI_IMAGE_DIR": "pictures"})[0].startswith("SPI_IMAGE_DIR: expected an absolute path")


def test_a_relative_flag_in_a_folder_that_was_removed_is_refused(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert problems({"image_dir": "x"})[0].startswith("--image-dir: expected an absolute path")
    assert problems({}, {}, "x.toml") == ("x.toml: isn't there",)
    monkeypatch.chdir("/")


@pytest.mark.parametrize(
    ("given", "of_a_terabyte"),
    [
        ('"15 %"', 150_000_000_000),
        ('"15%"', 150_000_000_000),
        ('" 12.5 % "', 125_000_000_000),
        ('"0 %"', 0),
        ("0", 0),
        ("500", 500),
        ('"500 MB"', 500_000_000),
        ('"500mb"', 500_000_000),
        ('"1.5 GiB"', 1_610_612_736),
        ('"7 B"', 7),
    ],
)
def test_free_space_is_a_share_or_bytes(written, given, of_a_terabyte):
    config = load({}, {}, written(f"[retention]\nmin_free = {given}"))
    assert config.retention.min_free.of(10**12) == of_a_terabyte
    assert load({}, {}, written(as_toml(config))).retention == config.retention


@pytest.mark.parametrize(("given", "meant"), [("1000", 1000), ('"50 kB"', 50_000), ('"1 MiB"', 1 << 20)])
def test_a_rate_is_bytes_a_second_with_or_without_a_unit(written, given, meant):
    assert load({}, {}, written(f"[api]\nmax_rate = {given}")).api.max_rate == meant


@pytest.mark.parametrize(("order", "sends_a_sample"), [("newest", False), ("spread", True), ("auto", False)])
def test_pictures_are_sent_as_a_sample_where_the_order_is_spread(written, order, sends_a_sample):
    assert load({}, {}, written(f'[api]\norder = "{order}"')).sends_a_sample is sends_a_sample


@pytest.mark.parametrize(("order", "sends_a_sample"), [("newest", False), ("spread", True), ("auto", True)])
@pytest.mark.parametrize("hold", ['hours = ["10:00-16:00"]', "battery_below = 30"])
def test_auto_is_a_sample_where_pictures_are_held(written, order, sends_a_sample, hold):
    assert load({}, {}, written(f'[api]\norder = "{order}"\n[hold]\n{hold}')).sends_a_sample is sends_a_sample


# --- the destination ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("https://API.Example.org/", "https://api.example.org"),
        ("HTTPS://example.org:443", "https://example.org"),
        ("https://example.org:8443/", "https://example.org:8443"),
        ("https://[::1]:8443", "https://[::1]:8443"),
        ("https://192.0.2.1", "https://192.0.2.1"),
        ("http://localhost:80", "http://localhost"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://[::1]", "http://[::1]"),
    ],
)
def test_one_server_has_one_address_however_it_is_spelled(given, meant):
    config = load({"api.url": given})
    assert (config.api.url, config.api.store) == (meant, None)
    assert load({"api.url": meant}).api.url == meant


def test_an_address_that_is_still_to_be_set_is_a_problem_with_its_place(written):
    file = written('[api]\nurl = ""\n')
    expected = "[api] url: not set: expected where the pictures go, https://host, or file:///folder for a store on this"
    assert problems({}, {}, file) == (f"{file}: {expected} machine",)
    assert problems({"api.url": ""}) == (f"{expected} machine",)
    assert len(problems({}, {}, written('scan_interval = "x"\n[api]\nurl = ""\n'))) == 2


def test_whoever_can_wait_for_an_address_gets_the_configuration_without_one(written):
    config = load({}, {}, written('[api]\nurl = ""\n'), check_url=False)
    assert (config.api.url, config.api.store, config.api.server) == ("", None, None)
    assert load({"api.url": "https://example.org"}, {}, config.file, check_url=False).api.url == "https://example.org"


@pytest.mark.parametrize(
    ("given", "folder"),
    [
        ("file:///x/y/", "/x/y"),
        ("FILE:///x//y/../z", "/x/z"),
        ("file:///a%20b%25%3f%23%c3%bc", "/a b%?#ü"),
        ("file:///a b/ü", "/a b/ü"),
        ("file:///caf%e9", "/caf\udce9"),
        ("file:///100%", "/100%"),
    ],
)
def test_a_store_is_named_by_its_folder_percent_encoded_or_not(given, folder):
    config = load({"api.url": given})
    assert config.api.store == folder
    assert config.api.url.isascii()
    assert load({"api.url": config.api.url}).api == config.api


@pytest.mark.parametrize("host", ["example.org", "192.0.2.1", "127.evil.org", "localhost.evil.org", "[2001:db8::1]"])
def test_plain_http_to_another_machine_needs_permission(written, host):
    assert "unencrypted" in problems({"api.url": f"http://{host}"})[0]
    assert load({"api.url": f"http://{host}"}, {}, written("[api]\nallow_http = true")).api.url == f"http://{host}"


@pytest.mark.parametrize(
    "given",
    ["https://user:hunter2@x.org", "https://hunter2@x.org/", "http://u:hunter2@x", "https://x.org/?pw=hunter2"],
)
@pytest.mark.parametrize("source", ["flag", "variable", "file"])
def test_credentials_in_an_address_are_refused_and_not_repeated(written, given, source):
    if source == "flag":
        found = problems({"api.url": given})
    elif source == "variable":
        found = problems({}, {"SPI_API_URL": given})
    else:
        found = problems({}, {}, written(f'[api]\nurl = "{given}"'))
    assert len(found) == 1
    assert "expected" in found[0]
    assert "hunter2" not in found[0]


# --- folders that get in each other's way ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image_dir", "state_dir", "store", "refused"),
    [
        ("/a", "/a/.state", "/a/.state/store", False),
        ("/a", "/b", "/b/store", False),
        ("/a", "/ab", "/ab/store", False),
        ("/a", "/b", "/c", False),
        ("/a", "/b", "/a/store", False),
        ("/a", "/a/b/c", "/a/b/c/d", False),
        ("/a", "/a", "/c", True),
        ("/a/b", "/a", "/c", True),
        ("/a", "/", "/c", True),
        ("/a", "/b", "/a", True),
        ("/a/b", "/s", "/a", True),
        ("/a", "/b", "/b", True),
        ("/a", "/b/c", "/b", True),
        ("/a", "/b", "/", True),
    ],
)
def test_folders_must_not_hold_what_they_would_swallow(image_dir, state_dir, store, refused):
    flags = {"image_dir": image_dir, "state_dir": state_dir, "api.url": f"file://{store}"}
    if refused:
        found = problems(flags)
        assert found
        assert all("is or holds" in problem for problem in found)
    else:
        assert load(flags).api.store == store


def test_a_link_does_not_hide_that_two_folders_are_one(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to("data")
    assert problems({"image_dir": f"{tmp_path}/link", "state_dir": f"{tmp_path}/data"})


def test_what_stands_in_for_a_wrong_folder_starts_no_second_complaint():
    assert len(problems({"image_dir": "", "state_dir": "/sticky_pi_data"})) == 1


# --- the password ------------------------------------------------------------------------------------------------


@pytest.fixture
def password_file(tmp_path):
    path = tmp_path / "password"
    path.touch(mode=0o600)
    path.write_bytes(b"hunter2\n")
    return path


def test_a_secret_never_shows_itself():
    secret = Secret("hunter2")
    assert secret.reveal() == "hunter2"
    assert {str(secret), repr(secret), f"{secret}", f"{[secret]}"} == {"********", "[********]"}
    assert (secret == Secret("hunter2"), secret == Secret("x"), secret == "hunter2") == (True, False, False)
    assert hash(secret) == hash(Secret("hunter2"))


def test_the_password_comes_from_the_environment_a_file_or_systemd_in_this_order(tmp_path, password_file, written):
    (tmp_path / "api-password").write_bytes(b"from systemd")
    credentials = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    file = written(f'[api]\npassword_file = "{password_file}"')
    variable = {"SPI_API_PASSWORD": "from the environment"}

    def password(flags, environ, config_file=None):
        return load(flags, environ, config_file, check_secrets=True).api.password

    assert password({}, {}) is None
    assert password({}, {"CREDENTIALS_DIRECTORY": "/nonexistent"}) is None
    assert password({}, credentials).reveal() == "from systemd"
    assert password({}, credentials, file).reveal() == "hunter2"
    assert password({}, credentials | variable, file).reveal() == "from the environment"
    assert password({"api.password_file": str(password_file)}, credentials | variable).reveal() == "hunter2"


def test_a_credential_of_systemd_may_look_readable_to_a_group(tmp_path):
    (tmp_path / "api-password").write_bytes(b"hunter2")
    (tmp_path / "api-password").chmod(0o440)
    config = load({}, {"CREDENTIALS_DIRECTORY": str(tmp_path)}, check_secrets=True)
    assert config.api.password == Secret("hunter2")


@pytest.mark.parametrize(
    ("content", "password"),
    [
        *((b"x", "x"), (b"x\n", "x"), (b"x\r\n", "x"), (b"x\n\n", "x\n"), (b" x ", " x "), ("ü\n".encode(), "ü")),
        *((b"\xef\xbb\xbfx\r\n", "x"), (b"\xef\xbb\xbf\xef\xbb\xbfx", "\ufeffx")),
    ],
)
def test_one_newline_at_the_end_of_a_password_file_is_dropped(password_file, content, password):
    password_file.write_bytes(content)
    assert load({"api.password_file": str(password_file)}, check_secrets=True).api.password == Secret(password)


def test_the_certificates_are_read_only_where_they_are_compared(tmp_path):
    file = tmp_path / "ca.pem"
    file.write_bytes(b"some")
    api = load({"api.url": "https://api.example.org"}, check_secrets=True).api._replace(ca_file=str(file))
    assert api.certificates is None
    before = api.with_certificates()
    assert before.certificates is not None
    assert api.with_certificates() == before
    file.write_bytes(b"others")
    assert api.with_certificates() != before
    file.unlink()
    assert api.with_certificates().certificates is None


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o777, 0o610, 0o601])
def test_a_password_file_that_others_can_use_is_refused_with_what_to_do(password_file, mode):
    password_file.chmod(mode)
    (problem,) = problems({"api.password_file": str(password_file)}, check_secrets=True)
    assert problem.endswith(f"can be read by others than its owner: chmod 600 {password_file}")


def test_every_problem_is_one_line_whatever_the_path_in_it(tmp_path):
    (problem,) = problems({"api.password_file": f"{tmp_path}/a\nb\u2028c\x1b[2J"}, check_secrets=True)
    assert problem.isprintable()
    assert "a\\nb" in problem


@pytest.mark.parametrize("content", [b"", b"\n", b"\r\n", b"\xef\xbb\xbf\n", b"\xff\xfehunter2", b"hunter2" * 1000])
def test_a_file_that_holds_no_password_is_refused_and_not_shown(password_file, content):
    password_file.write_bytes(content)
    (problem,) = problems({"api.password_file": str(password_file)}, check_secrets=True)
    assert str(password_file) in problem
    assert "hunter2" not in problem


def test_what_is_no_regular_file_is_no_password_file(tmp_path):
    os.mkfifo(tmp_path / "fifo", 0o600)
    for path, why in (
        (tmp_path / "fifo", "isn't a regular file"),
        (tmp_path, "can't be read: Is a directory"),
        ("/dev/null", "isn't a regular file"),
        (tmp_path / "gone", "can't be read: No such file or directory"),
    ):
        (problem,) = problems({"api.password_file": str(path)}, check_secrets=True)
        assert problem.endswith(f"the password file {path} {why}")


def test_a_password_file_is_looked_at_only_when_it_is_asked_for(tmp_path):
    assert load({"api.password_file": str(tmp_path / "gone")}).api.password_file == str(tmp_path / "gone")


def test_a_wrong_password_file_is_reported_with_all_the_rest(tmp_path):
    flags = {"api.password_file": str(tmp_path / "gone"), "api.url": "x"}
    assert len(problems(flags, check_secrets=True)) == 2


def test_a_password_that_is_not_utf_8_is_refused_and_not_shown():
    (problem,) = problems({}, {"SPI_API_PASSWORD": "hunter2\udcff"})
    assert problem == "SPI_API_PASSWORD: expected UTF-8 text, not ********"


def test_the_password_is_in_no_text_that_the_configuration_makes_of_itself():
    config = load({}, {"SPI_API_PASSWORD": "hunter2"})
    assert "hunter2" not in f"{config!r} {config} {as_toml(config)}"
    assert "********" in as_toml(config)


# --- flags -------------------------------------------------------------------------------------------------------


def parsed(*words):
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_flags(parser)
    commands = parser.add_subparsers(dest="command", required=True)
    add_flags(commands.add_parser("run", exit_on_error=False))
    return parser.parse_args(words)


@pytest.mark.parametrize(
    "words", [("--image-dir", "/a", "run"), ("run", "--image-dir", "/a"), ("run", "--image-dir=/a")]
)
def test_a_flag_may_stand_before_and_after_the_command(words):
    assert from_arguments(parsed("--config", "/dev/null", *words), {}).image_dir == "/a"


def test_flags_before_and_after_the_command_add_up_and_the_last_one_counts(written):
    file = written("scan_interval = 5")
    words = ("--image-dir", "/a", "--config", "/x", "run", "--state-dir", "/s", "--config", file, "--username", "me")
    config = from_arguments(parsed(*words), {"SPI_IMAGE_DIR": "/z"})
    assert (config.image_dir, config.state_dir, config.scan_interval, config.api.username) == ("/a", "/s", 5, "me")


def test_every_flag_of_the_schema_is_taken():
    for key in SCHEMA:
        if key.flag:
            assert vars(parsed("run", key.flag, "x"))[key.name] == "x"


def test_there_is_no_flag_for_the_password():
    with pytest.raises((argparse.ArgumentError, SystemExit)):
        parsed("run", "--password", "hunter2", "--no-such")


# --- what is shown -----------------------------------------------------------------------------------------------


def without_source(config):
    return [getattr(config, name) for name in Config.__slots__ if name != "file"]


def test_the_effective_configuration_fed_back_as_a_file_is_the_same(written, tmp_path):
    everything = (
        'image_dir = "/ü \\"q\\" \\\\ \\u007f \\u0001 \U0001f98b"\nscan_interval = 7\n'
        '[api]\nurl = "https://x.org:8443"\nusername = "ü"\nca_file = "/c"\nallow_http = true\nparallel = 3\n'
        'password_file = "/pw"\nmax_rate = "50 kB"\ngive_up_after = 1\norder = "spread"\n'
        '[retention]\nkeep_days = 0\nmin_free = "1.5 GB"\nkeep_record_days = 1\n'
        '[hold]\nhours = ["22:00-04:00", "10:00-16:00"]\nbattery_below = 30\n'
    )
    for config in (load(), load({}, {}, written(everything))):
        again = tmp_path / "again.toml"
        again.write_text(as_toml(config), encoding="utf-8")
        assert without_source(load({}, {}, str(again))) == without_source(config)


def test_the_effective_configuration_names_the_file_and_every_key(written):
    file = written("scan_interval = 7")
    text = as_toml(load({}, {}, file))
    assert text.splitlines()[0] == f'# configuration file: "{file}"'
    for key in SCHEMA:
        assert re.search(rf"^(# )?{key.name.rpartition('.')[2]}( =|:)", text, re.MULTILINE), key.name


def test_a_path_that_toml_can_not_say_is_shown_as_a_comment():
    text = as_toml(load({"image_dir": "/caf\udce9", "state_dir": "/s"}))
    assert "# image_dir: '/caf\\udce9', which a file can't say: it isn't UTF-8" in text
    assert tomllib.loads(text)["state_dir"] == "/s"


# --- the example -------------------------------------------------------------------------------------------------


def uncommented(text):
    return re.sub(r"^#(\w+ =)", r"\1", text, flags=re.MULTILINE)


def example_values(text):
    tree = tomllib.loads(text)
    flat = {name: value for name, value in tree.items() if name not in SECTIONS}
    return flat | {f"{section}.{name}": value for section in SECTIONS for name, value in tree[section].items()}


def test_the_example_as_it_is_changes_nothing():
    assert without_source(load({}, {}, str(EXAMPLE))) == without_source(load())


def test_the_example_has_every_key_of_the_schema_in_its_order_and_no_other():
    names = list(example_values(uncommented(EXAMPLE.read_text(encoding="utf-8"))))
    assert sorted(names) == sorted(key.name for key in SCHEMA)
    lines = re.findall(r"^#(\w+) =", EXAMPLE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert lines == [key.name.rpartition(".")[2] for key in SCHEMA]


def test_the_example_shows_the_defaults():
    values = example_values(uncommented(EXAMPLE.read_text(encoding="utf-8")))
    defaults = {key.name: key.default for key in SCHEMA if key.default is not None}
    defaults |= {"state_dir": load().state_dir, "api.url": load().api.url}
    assert {name: values[name] for name in defaults} == defaults


def test_the_example_loads_with_every_key_uncommented(written):
    config = load({}, {}, written(uncommented(EXAMPLE.read_text(encoding="utf-8"))))
    assert config.api.username == "trap-42"
    assert config.retention.keep_days == 30


# --- the start ---------------------------------------------------------------------------------------------------


def test_a_start_without_a_file_reads_no_toml_and_nothing_heavy():
    loaded = loaded_by(f"from sticky_pi_uploader import config\nconfig.load({{}}, {{}}, default_file={NOWHERE!r})")
    assert loaded & {"tomllib", "argparse", "difflib", "json", "PIL", "requests"} == set()


@pytest.mark.parametrize("key", SCHEMA, ids=lambda key: key.name)
def test_every_key_says_what_it_is_for_and_what_holds_without_it(key):
    assert key.help
    assert (key.default is None) == bool(key.default_means)
