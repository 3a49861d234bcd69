import os

import pytest
from sticky_pi_uploader.cli.checks.lost_and_found import lost_and_found
from sticky_pi_uploader.config import load
from sticky_pi_uploader.ownership.run_as_service import LOST_FILES


@pytest.mark.parametrize(("value", "said"), [("2", ["2 files"]), ("0", []), ("", []), ("x", []), ("-3", [])])
def test_the_number_that_root_hands_on_is_reported_and_anything_else_is_not(tmp_path, value, said):
    config = load({"image_dir": str(tmp_path), "state_dir": f"{tmp_path}/.state"}, {}, os.devnull)
    found = [finding.what for finding in lost_and_found(config, {LOST_FILES: value})]
    assert found == [f"fsck put {files} into {tmp_path}/lost+found" for files in said]
