import pytest
from sticky_pi_uploader.ownership.service_unit import SERVICE, _read_files
from sticky_pi_uploader.ownership.viewpoint import another_trap

FILES = [
    r"""
[Unit]
Environment=OF=another-section
[Service]
Type=notify
ExecStartPre=-+prepare
ExecStart=-/opt/sticky/bin/sticky-pi-uploader --config=/etc/trap.toml run
ExecReload=sh -c 'kill -HUP $MAINPID'
Restart=always
RestrictSUIDSGID=yes
TimeoutStopSec=30
WatchdogSec=180
NotifyAccess=exec
RuntimeDirectory=sticky-pi-uploader
FailureAction=reboot
SuccessAction=none
StartLimitAction=reboot
StartLimitInterval=60
RebootArgument=x
OOMPolicy=kill
User=sticky-pi-uploader
# a remark
SystemCallFilter=@system-service
SystemCallFilter=~@privileged \
; in between
    @resources
ProtectHome = yes
ReadWritePaths=-/sticky_pi_data "/mnt/a b"
ReadWritePaths=mnt/usb
AmbientCapabilities=CAP_CHOWN
""",
    r"""
[Service]
Environment=HTTPS_PROXY=http://kim:a%%40b@first:1 "A=b c"
RestartSec=5
AmbientCapabilities=
AmbientCapabilities=CAP_DAC_OVERRIDE
""",
    r"""
[Service]
Environment=HTTPS_PROXY=http://second:2
LoadCredential=extra:%N.extra
""",
]


@pytest.fixture
def read(tmp_path):
    """Read the unit that files with these texts make."""

    def read(*texts):
        paths = [tmp_path / f"{number}.conf" for number, _ in enumerate(texts)]
        for path, text in zip(paths, texts, strict=True):
            path.write_text(text)
        return _read_files(SERVICE, [str(path) for path in paths])

    return read


@pytest.fixture
def unit(read):
    return read(*FILES)


def test_lines_above_any_section_are_not_taken_for_those_of_the_file_before(read, tmp_path):
    first = "[Service]\nReadWritePaths=/a\nUser=kim\\\n"
    unit = read(first, "# no section\nReadWritePaths=/b\n[Service]\nReadWritePaths=/c\n", "# nothing\n")
    assert unit.values("ReadWritePaths") == ["/a", "/c"]
    assert unit.outside == (str(tmp_path / "1.conf"),)


def test_a_command_gets_the_lines_in_their_order_without_those_that_start_and_end_the_service(unit):
    assert unit.for_commands == [
        "RestrictSUIDSGID=yes",
        "User=sticky-pi-uploader",
        "SystemCallFilter=@system-service",
        "SystemCallFilter=~@privileged  @resources",
        "ProtectHome=yes",
        'ReadWritePaths=-/sticky_pi_data "/mnt/a b"',
        "AmbientCapabilities=CAP_CHOWN",
        'Environment=HTTPS_PROXY=http://kim:a%40b@first:1 "A=b c"',
        "AmbientCapabilities=",
        "AmbientCapabilities=CAP_DAC_OVERRIDE",
        "Environment=HTTPS_PROXY=http://second:2",
        "LoadCredential=extra:sticky-pi-uploader.extra",
    ]


def test_what_is_in_force_is_the_last_value_or_the_whole_list(unit):
    assert unit.program == ["/opt/sticky/bin/sticky-pi-uploader", "--config=/etc/trap.toml"]
    assert unit.flags == {"config_file": "/etc/trap.toml"}
    assert unit.environment == {"HTTPS_PROXY": "http://second:2", "A": "b c"}
    assert unit.user == "sticky-pi-uploader"
    assert unit.values("AmbientCapabilities") == ["CAP_DAC_OVERRIDE"]


@pytest.mark.parametrize(
    ("line", "program"),
    [
        ("sticky-pi-uploader drain --deadline 45 --image-dir /a", ["sticky-pi-uploader", "--image-dir=/a"]),
        ("/opt/v/bin/python -m sticky_pi_uploader run", ["/opt/v/bin/python", "-m", "sticky_pi_uploader"]),
        ("-nice -n 10 sticky-pi-uploader run", ["nice", "-n", "10", "sticky-pi-uploader"]),
        ("/usr/local/bin/wrapper", []),
        ("run", []),
        ("", []),
    ],
)
def test_a_command_is_started_by_the_words_before_the_services_own(read, line, program):
    assert read(f"[Service]\nExecStart={line}\n").program == program


@pytest.mark.parametrize(
    ("folder", "is_named", "is_hidden"),
    [
        ("/sticky_pi_data/x", True, False),
        ("/sticky_pi_data2", False, False),
        ("/mnt/a b", True, False),
        ("/mnt/usb", False, False),  # systemd ignores a relative path
        ("/home/kim", False, True),
    ],
)
def test_folders_are_known_that_the_sandbox_lets_in_or_hides(unit, folder, is_named, is_hidden):
    assert (unit.lets_in(folder), unit.hides(folder)) == (is_named, is_hidden)


@pytest.mark.parametrize(
    ("flags", "environ", "said"),
    [
        ({}, {}, None),
        ({"api.url": "https://other.example"}, {}, None),
        ({"image_dir": "/srv/pictures"}, {"SPI_IMAGE_DIR": "/srv/pictures"}, None),
        ({"image_dir": "/srv/other"}, {}, "--image-dir is not the service's"),
        ({"state_dir": "/srv/other"}, {}, "--state-dir is not the service's"),
        ({"config_file": "{folder}/other.toml"}, {}, "--config is not the service's"),
        ({"config_file": "{folder}/config.toml"}, {}, None),
        ({}, {"SPI_API_PASSWORD": "hunter2"}, "SPI_API_PASSWORD is not the service's"),
        ({"state_dir": "/x"}, {"SPI_IMAGE_DIR": "/y"}, "--state-dir and SPI_IMAGE_DIR are not the service's"),
    ],
)
def test_flags_and_variables_that_mean_another_trap_are_named(tmp_path, read, flags, environ, said):
    for name in ("config", "other"):
        (tmp_path / f"{name}.toml").write_text('image_dir = "/srv/pictures"\n[api]\nurl = "https://pi.example.org"\n')
    text = f"[Service]\nExecStart=sticky-pi-uploader run --config {tmp_path}/config.toml\n"
    unit = read(text)
    given = {name: value.format(folder=tmp_path) for name, value in flags.items()}
    assert another_trap(unit, given, environ) == said
