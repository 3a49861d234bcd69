import shlex

import pytest
from sticky_pi_uploader.cli.checks.service import difference
from sticky_pi_uploader.ownership.service_unit import ROUND, SERVICE, ServiceUnit

SHIPPED = ("User=trap", "LoadCredential=api-password:x", "ReadWritePaths=-/sticky_pi_data", "CapabilityBoundingSet=")
SHIPPED = (*SHIPPED, "ProtectHome=yes", "PrivateUsers=yes")


@pytest.fixture
def compare(tmp_path):
    """Compare the round's unit with the service's, each with further lines in drop-ins."""

    def compare(service, of_round=()):
        for unit, files in ((SERVICE, service), (ROUND, of_round)):
            for name, lines in dict(files).items():
                file = tmp_path / f"{unit}.d" / name
                file.parent.mkdir(exist_ok=True)
                file.write_text("\n".join(["[Service]", *lines]))
        units = (
            ServiceUnit(name, (*SHIPPED, *(line for lines in dict(files).values() for line in lines)))
            for name, files in ((SERVICE, service), (ROUND, of_round))
        )
        return next(difference(*units, str(tmp_path)), None)

    return compare


@pytest.mark.parametrize(
    ("lines", "of_round"),
    [
        (["MemoryMax=100M", "Nice=5", "ExecStart=", "ExecStart=sticky-pi-uploader run --verbose"], []),
        (["ReadWritePaths=/mnt/usb"], ["ReadWritePaths=-/mnt/usb"]),
        (["ReadWritePaths=-/mnt/usb/store"], ["ReadWritePaths=/mnt/usb"]),
        (["ReadWritePaths=mnt/usb"], []),
        (["Environment=A=b", "Environment=A=c"], ["Environment=A=c"]),
        ([], ["ProtectHome=no"]),
    ],
)
def test_a_difference_that_keeps_the_round_from_nothing_is_no_problem(compare, lines, of_round):
    assert compare({"a.conf": lines}, {"a.conf": of_round}) is None


@pytest.mark.parametrize(
    "line",
    [
        "User=somebody",
        "LoadCredentialEncrypted=api-password",
        "ReadWritePaths=-/mnt/usb",
        "AmbientCapabilities=CAP_DAC_OVERRIDE",
        "Environment=HTTPS_PROXY=http://proxy:1",
        "ProtectHome=no",
        "PrivateUsers=no",
    ],
)
def test_a_line_that_the_round_needs_is_copied_with_its_drop_in_and_no_other_is(tmp_path, compare, line):
    finding = compare({"a b.conf": [line], "nice.conf": ["Nice=5"]})
    assert finding.what.startswith(f"{ROUND} doesn't have the service's {line.partition('=')[0]}")
    copy, reload = finding.advice.split(" && ")
    files = [f"{tmp_path}/{SERVICE}.d/a b.conf"]
    assert shlex.split(copy) == ["sudo", "install", "-D", "-m", "644", "-t", f"{tmp_path}/{ROUND}.d", *files]
    assert reload == "sudo systemctl daemon-reload"


@pytest.mark.parametrize(
    ("service", "of_round"),
    [
        ({"a.conf": ["ReadWritePaths=/mnt/usb"]}, {"a.conf": ["Nice=5"]}),
        ({"a.conf": ["ReadWritePaths=/mnt/usb", "ExecStart=", "ExecStart=sticky-pi-uploader run"]}, {}),
    ],
    ids=["the round has a file of this name", "the file says how the service starts"],
)
def test_a_drop_in_is_copied_over_no_other_and_not_with_the_start_of_the_service(compare, service, of_round):
    finding = compare(service, of_round)
    assert "ReadWritePaths" in finding.what
    assert "install" not in finding.advice
    assert f"{ROUND}.d" in finding.advice
