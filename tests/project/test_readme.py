"""What the README says is what the program does."""

import ast
import re
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest
from sticky_pi_uploader.cli.arguments import COMMANDS
from sticky_pi_uploader.config.schema import SCHEMA
from sticky_pi_uploader.journal.events import Kind, about
from sticky_pi_uploader.journal.throttle import Spell
from sticky_pi_uploader.models import Picture, State

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def table_after(heading: str) -> list[list[str]]:
    """Return the cells of the first table below a heading, its own two header lines apart."""
    section = README.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]


def code_blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def text_of_the_program() -> str:
    """Return every text in the program's source, joined: what it can say."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in sorted((ROOT / "daemon").rglob("*.py"))]
    constants = [node.value for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    return "\n".join(value for value in constants if isinstance(value, str))


def test_every_command_is_in_the_table_with_the_words_of_its_help():
    documented = {row[0].strip("`").split(" ")[0]: row[1] for row in table_after("Commands")}
    assert documented == {command.name: command.summary for command in COMMANDS}


def test_every_key_is_in_the_table_with_its_flag_variables_and_default():
    documented = [[cell.replace("`", "") for cell in row] for row in table_after("Configuration")]
    expected = [
        [
            str(key),
            key.flag or "–",
            ", ".join(key.environment) or "–",
            key.default_means or str(key.default).replace("False", "false"),
        ]
        for key in SCHEMA
    ]
    assert documented == expected


def test_every_state_is_in_the_table():
    assert [row[0].strip("`") for row in table_after("What happens to a picture")] == [state.value for state in State]


@pytest.mark.parametrize("row", table_after("Looking after it"), ids=lambda row: row[0])
def test_what_it_is_said_to_say_it_can_say(row):
    said = text_of_the_program()
    for message in row[0].split("; "):
        assert message in said


def test_what_is_said_of_the_journal_is_what_it_gets():
    section = README.split("\n## Reading the journal\n")[1].split("\n## ")[0]
    key = ("5c173ff2", "2020-06-20T21:33:24Z", "0" * 32)
    told = {"reason": "why", "suspect": "why", "file_system": "disk", "attempts": 0, "misses": 0}
    unset = dict.fromkeys(set(Picture._fields) - {"id", "path", "device", "datetime", "md5", "state", *told})
    picture = Picture(1, "a.jpg", *key, State.REJECTED, **told, **unset)
    fields = set(re.findall(r"STICKY_PI_[A-Z0-9]+", section))
    assert fields == set(about(Kind.REJECTED, picture)) - {"MESSAGE_ID"}
    assert set(re.findall(r"STICKY_PI_EVENT=(\w+)", section)) <= {kind.name.lower() for kind in Kind}
    assert f"`{str(Spell(7, 5400.0)).strip()}`" in section
    assert "the destination works again" in text_of_the_program()


def test_the_example_of_the_client_library_runs_on_the_demo(tmp_path):
    command = [sys.executable, "-W", "error", "-m", "sticky_pi_uploader", "demo"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=120)
    (example,) = code_blocks("python")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", example], cwd=tmp_path, check=True, capture_output=True, timeout=60
    )
    lines = done.stdout.decode().splitlines()
    assert lines[0].startswith("512858f4 2022-05-17 19:34:50 17.0 (512, 384)")
    rows = [line.split(" ") for line in lines[1:]]
    assert len(rows) == 12
    for device, day, time, _, url in rows:
        assert (device, datetime.fromisoformat(f"{day} {time}").year) in {("5c173ff2", 2020), ("512858f4", 2022)}
        assert (tmp_path / url).is_file()


def test_every_command_line_in_it_names_a_real_command():
    lines = [line for block in code_blocks("sh") for line in block.splitlines()]
    named = [match[1] for line in lines for match in re.finditer(r"(?:^|/|\w )sticky-pi-uploader ([a-z][a-z-]*)", line)]
    assert set(named) == {"demo", "drain", "check", "status", "install-service"}
    assert set(named) <= {command.name for command in COMMANDS}


def test_the_files_it_links_to_are_there():
    links = re.findall(r"\]\((?!https)([^)]+)\)", README)
    assert links
    headings = {"#" + heading.lower().replace(" ", "-") for heading in re.findall(r"^#+ (.+)$", README, re.MULTILINE)}
    assert [link for link in links if link not in headings and not (ROOT / link).exists()] == []


def test_the_paths_in_the_guide_for_contributors_are_there():
    guide = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    packages = [ROOT / "daemon" / name for name in ("sticky_pi_uploader", "sticky_pi_api")]
    named = re.findall(r"(?:`|\s)((?:[a-z_]+/)*[a-z_]+(?:\.py|/))(?=[`\s,;:.])", guide)
    assert len(named) > 40
    assert [
        path for path in named if not any((base / path).exists() for base in (ROOT, ROOT / "tests", *packages))
    ] == []
