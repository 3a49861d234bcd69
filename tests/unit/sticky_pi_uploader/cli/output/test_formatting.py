import json
import os

import pytest
from sticky_pi_uploader.cli.output.formatting import to_json

NASTY = "5c173ff2/caf\udce9\x1b[31m\n\u202e.jpg"


def test_json_is_of_printable_ascii_and_has_no_number_that_json_lacks():
    assert to_json("a\x7fé\x1b", indent=None) == r'"a\u007f\u00e9\u001b"'
    assert to_json({"a": [1]}) == '{\n  "a": [\n    1\n  ]\n}'
    assert to_json({"a": [1]}, indent=None) == '{"a": [1]}'
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_json(float("nan"))


@pytest.mark.parametrize("env", [{"LC_ALL": "C"}, {"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C.UTF-8"}])
def test_names_that_no_terminal_should_see_are_escaped(trap, taken, env):
    trap.record(taken(NASTY))
    listed = trap.run("list", env=env)
    assert (listed.returncode, listed.stderr) == (0, b"")
    assert listed.stdout.endswith(b"5c173ff2/caf\\xe9\\x1b[31m\\x0a\\u202e.jpg\n")
    explained = trap.run("explain", os.fsencode(NASTY), env=env)
    assert b"\x1b" not in explained.stdout
    assert b"caf\\xe9" in explained.stdout
    unknown = trap.run("explain", b"\x1b[31m\xff.jpg", env=env)
    assert unknown.returncode == 1
    assert unknown.stderr.startswith(b"sticky-pi-uploader: \\x1b[31m\\xff.jpg: ")
    for command in (["list"], ["explain", os.fsencode(NASTY)]):
        printed = trap.run(*command, "--json", env=env).stdout
        assert printed.isascii()
        assert b"\x1b" not in printed
        value = json.loads(printed)
        assert (value[0] if isinstance(value, list) else value)["path"] == f"{trap.images}/{NASTY}"
