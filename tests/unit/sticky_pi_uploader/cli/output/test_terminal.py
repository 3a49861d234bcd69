import subprocess
import sys
from pathlib import Path

import pytest
import sticky_pi_uploader

SOURCE = Path(sticky_pi_uploader.__file__).parents[1]

SCRIPT = f"""#!{sys.executable}
import sys
sys.path.insert(0, {str(SOURCE)!r})
from sticky_pi_uploader.cli.output.terminal import suggest
from sticky_pi_uploader.config import load
print(suggest(load({{}}, {{}}, default_file="none.toml"), "status"))
"""
"""As pip makes it in an environment's `bin`, but for the command"""


@pytest.mark.parametrize(
    ("typed", "path", "suggested"),
    [
        ("environment/bin/sticky-pi-uploader", "/nowhere", "environment/bin/sticky-pi-uploader status"),
        ("environment/bin/sticky-pi-uploader", "system", "environment/bin/sticky-pi-uploader status"),
        ("a b/sticky-pi-uploader", "/nowhere", "'a b/sticky-pi-uploader' status"),
        ("sticky-pi-uploader", "system", "sticky-pi-uploader status"),
    ],
)
def test_a_command_is_suggested_as_this_one_was_typed(tmp_path, typed, path, suggested):
    for folder in ("environment/bin", "system", "a b"):
        (tmp_path / folder).mkdir(parents=True)
        script = tmp_path / folder / "sticky-pi-uploader"
        script.write_text(SCRIPT)
        script.chmod(0o755)
    done = subprocess.run(
        ["/bin/sh", "-c", f"'{typed}'"],
        cwd=tmp_path,
        env={"PATH": str(tmp_path / path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.stdout, done.stderr) == (suggested + "\n", "")
