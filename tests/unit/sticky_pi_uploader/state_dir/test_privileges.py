import pytest
from sticky_pi_uploader.cli.arguments import AS_SERVICE
from sticky_pi_uploader.state_dir.privileges import _OUR_UNIT


@pytest.mark.parametrize("name", ["", "-drain", *(f"-{command}-123" for command in sorted(AS_SERVICE))])
def test_the_units_of_the_service_and_of_commands_that_run_as_it_are_known(name):
    assert _OUR_UNIT.search(f"1:name=systemd:/x\n0::/system.slice/sticky-pi-uploader{name}.service\n")


@pytest.mark.parametrize("name", ["-nightly", "-audit", "-run-123", "-drain-x", "2"])
def test_an_owners_own_unit_of_a_like_name_is_not_taken_for_the_service(name):
    assert not _OUR_UNIT.search(f"0::/system.slice/sticky-pi-uploader{name}.service\n")
