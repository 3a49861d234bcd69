"""The man page and bash's completion: they have every command and flag that the program has."""

import gzip
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from sticky_pi_uploader.cli.arguments import COMMANDS, EXIT_STATUSES, parser
from sticky_pi_uploader.config.schema import SCHEMA
from sticky_pi_uploader.models import State

NAME = "sticky-pi-uploader"


def flags_by_command():
    """Return command → its flags, as argparse has them, with None for what is accepted before a command."""
    main = parser()
    (commands,) = (action.choices for action in main._actions if isinstance(action.choices, dict))
    parsers = {None: main, **commands}
    return {
        name: {flag for action in each._actions for flag in action.option_strings} for name, each in parsers.items()
    }


@pytest.fixture(scope="module")
def roff(installed):
    return gzip.decompress((installed / f"usr/share/man/man8/{NAME}.8.gz").read_bytes()).decode()


@pytest.fixture(scope="module")
def page(roff):
    if shutil.which("man") is None:
        pytest.skip("there is no man here to read the page with: apt-get install man-db")
    environment = {**os.environ, "MANWIDTH": "100", "LC_ALL": "C.UTF-8", "MAN_KEEP_FORMATTING": ""}
    command = ["man", "--warnings", "--local-file", "-"]
    done = subprocess.run(command, input=roff, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return re.sub(".\b", "", done.stdout)


def section(page, heading):
    return re.search(rf"^{heading}\n(.*?)(?=^\S|\Z)", page, flags=re.DOTALL | re.MULTILINE)[1]


def test_the_page_has_every_command_with_its_summary_and_example(page):
    commands, examples = section(page, "COMMANDS"), section(page, "EXAMPLES")
    for command in COMMANDS:
        assert re.search(rf"^ {{7}}{command.name}\b", commands, flags=re.MULTILINE), command.name
        assert f"{NAME} {command.example}" in examples
        assert command.summary[1:] in re.sub(r"\s+", " ", commands)


def test_the_page_has_every_flag_of_every_command(page):
    options, commands = section(page, "OPTIONS"), section(page, "COMMANDS")
    flags = flags_by_command()
    everywhere = flags.pop(None)
    assert everywhere <= set(re.findall(r"(?<![\w-])--?[\w-]+", options))
    for name, own in flags.items():
        text = re.search(rf"^ {{7}}{name}\b(.*?)(?=^ {{7}}\w|\Z)", commands, flags=re.DOTALL | re.MULTILINE)[1]
        assert own - everywhere == set(re.findall(r"(?<![\w-])--[\w-]+", text))


def test_the_page_has_every_key_variable_and_exit_status(page):
    text = re.sub(r"\s+", " ", page)
    for key in SCHEMA:
        assert str(key) in section(page, "CONFIGURATION")
        assert all(variable in section(page, "ENVIRONMENT") for variable in key.environment)
    for line in EXIT_STATUSES.splitlines()[1:]:
        status, meaning = line.split(maxsplit=1)
        assert f" {status} {meaning[0].upper()}{meaning[1:]}." in text


def complete(installed, *words, **variables):
    script = installed / "usr/share/bash-completion/completions" / NAME
    code = f"""
        compopt() {{ :; }}  # there is no command line here whose options it could change
        source {script}
        COMP_WORDS=({" ".join(f"'{word}'" for word in words)})
        COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
        _sticky_pi_uploader
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(
        ["bash", "--norc", "-c", code],
        cwd=installed,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return set(done.stdout.split())


def test_the_commands_are_completed(installed):
    names = {command.name for command in COMMANDS}
    assert complete(installed, NAME, "") == names | flags_by_command()[None]
    assert complete(installed, NAME, "dr") == {"drain"}
    assert complete(installed, NAME, "--state-dir", "/somewhere", "dr") == {"drain"}


def test_the_flags_of_each_command_are_completed(installed):
    for name, flags in flags_by_command().items():
        if name is not None:
            assert complete(installed, NAME, "--username", "trap", name, "-") == flags


def test_states_files_and_folders_are_completed_where_they_are_asked_for(installed):
    assert complete(installed, NAME, "list", "--state", "") == {state.value for state in State}
    assert complete(installed, NAME, "--image-dir", "us") == {"usr"}
    assert complete(installed, NAME, "explain", "us") == {"usr"}
    assert complete(installed, NAME, "--username", "") == set()


def test_the_names_of_commands_are_completed_behind_help(installed):
    assert complete(installed, NAME, "help", "dr") == {"drain"}


def test_the_names_of_pictures_are_completed_by_what_is_recorded_there(installed, tmp_path, make_trap_picture):
    program = tmp_path / "bin" / NAME
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m sticky_pi_uploader "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    images = tmp_path / "card"
    sent = make_trap_picture(images / "5c173ff2").name
    (images / "holiday.jpg").write_text("no picture", encoding="utf-8")
    path = os.pathsep.join(path for path in sys.path if path)
    subprocess.run([program, "drain", "--image-dir", images], env={"PYTHONPATH": path}, check=False, timeout=60)
    # Bash splits a word at its equals sign.
    for flags in (("--image-dir", "=", images), ("--image-dir", images)):
        assert complete(installed, program, *flags, "explain", "", PYTHONPATH=path) >= {sent, "holiday.jpg"}
        assert complete(installed, program, "explain", *flags, sent[:3], PYTHONPATH=path) == {sent}
        assert "holiday.jpg" in complete(installed, program, *flags, "retry", "", PYTHONPATH=path)
        assert sent not in complete(installed, program, *flags, "retry", "", PYTHONPATH=path)


def test_bash_accepts_the_completion(installed):
    script: Path = installed / "usr/share/bash-completion/completions" / NAME
    subprocess.run(["bash", "-n", script], check=True, timeout=60)
