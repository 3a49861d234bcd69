"""The kinds of event: every record has one, the catalog explains each, and a picture's records name the picture."""

import ast
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from sending_rig import HERE, Rig, md5, name
from sticky_pi_api.exceptions import RefusedError
from sticky_pi_api.types import Outcome
from sticky_pi_uploader.journal.events import Kind, about
from sticky_pi_uploader.models import State

ROOT = Path(__file__).resolve().parents[4]
CATALOG = ROOT / "systemd" / "sticky-pi-uploader.catalog"

REFUSED = (Outcome.REFUSED, RefusedError("status 500"))

LEVELS = {"info", "warning", "error", "critical", "exception", "log"}

PICTURE_FIELDS = {"IMAGE", "PATH", "DEVICE", "DATETIME", "MD5", "STATE", "REASON", "SUSPECT"}


def calls():
    for path in sorted((ROOT / "daemon").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Call):
                yield path, node


def is_logger(value):
    return ast.unparse(value) in {"log", "events.log"} or ast.unparse(value).startswith("logging.getLogger(")


def entries():
    """Map each id in the catalog to its subject and text."""
    found = {}
    for entry in re.split(r"^-- ", CATALOG.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        header, _, text = entry.partition("\n\n")
        message_id, *lines = header.splitlines()
        assert message_id not in found
        found[message_id] = (dict(line.split(": ", 1) for line in lines), text)
    return found


def test_every_record_at_info_and_above_is_logged_as_an_event_of_a_kind():
    found = [
        (path.name, ast.unparse(call))
        for path, call in calls()
        if isinstance(call.func, ast.Attribute) and call.func.attr in LEVELS and is_logger(call.func.value)
    ]
    assert [name for name, _ in found] == ["events.py"]
    assert "extra=about(kind, " in found[0][1]


def test_every_kind_of_event_is_told_of_somewhere():
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "daemon").rglob("*.py") if path.name != "events.py"]
    told = set(re.findall(r"\bKind\.([A-Z_]+)", "\n".join(texts)))
    assert told == set(Kind.__members__)


def test_the_catalog_has_an_entry_for_each_kind_and_no_other():
    assert set(entries()) == {kind.value for kind in Kind}


@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.name.lower())
def test_an_entry_says_what_happened_what_it_means_and_what_to_do(kind):
    header, text = entries()[kind.value]
    assert header.pop("Subject")
    assert header == {"Defined-By": "sticky-pi-uploader", "Documentation": "man:sticky-pi-uploader(8)"}
    assert len([paragraph for paragraph in text.split("\n\n") if paragraph.strip()]) >= 2
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.name.lower())
def test_an_entry_uses_only_fields_that_its_records_have(kind):
    header, text = entries()[kind.value]
    given = {
        keyword.arg.upper()
        for _, call in calls()
        if f"Kind.{kind.name}" in [ast.unparse(argument) for argument in call.args]
        for keyword in call.keywords
        if keyword.arg is not None
    }
    # Those of a picture, and what whoever tells of one adds.
    given |= PICTURE_FIELDS | {"DESTINATION"} if "@STICKY_PI_IMAGE@" in header["Subject"] else set()
    # A name with a digit in it is none to journalctl, which leaves it as it stands.
    assert set(re.findall("@STICKY_PI_([A-Z_]+)@", f"{header['Subject']}\n{text}")) <= given
    assert "@" not in re.sub("@STICKY_PI_[A-Z_]+@", "", text)


def test_the_ids_are_ids_and_no_two_are_the_same():
    values = [kind.value for kind in Kind.__members__.values()]
    assert all(re.fullmatch("[0-9a-f]{32}", value) for value in values)
    assert len(set(values)) == len(values)


@pytest.mark.skipif(shutil.which("journalctl") is None, reason="there is no journalctl here: apt-get install systemd")
def test_journalctl_takes_the_catalog(tmp_path):
    folder = tmp_path / "usr" / "lib" / "systemd" / "catalog"
    folder.mkdir(parents=True)
    (tmp_path / "var" / "lib" / "systemd" / "catalog").mkdir(parents=True)
    shutil.copy(CATALOG, folder)

    def journalctl(*arguments):
        command = ["journalctl", f"--root={tmp_path}", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    journalctl("--update-catalog")
    listed = dict(line.split(" ", 1) for line in journalctl("--list-catalog").splitlines())
    assert listed == {kind.value: f"sticky-pi-uploader: {entries()[kind.value][0]['Subject']}" for kind in Kind}
    assert entries()[Kind.LOST.value][1].strip() in journalctl("--dump-catalog", Kind.LOST.value)


def test_a_record_of_no_picture_has_its_id_its_name_and_what_is_known_beside():
    assert about(Kind.RESUMED, count=3, reason=None) == {
        "MESSAGE_ID": Kind.RESUMED.value,
        "STICKY_PI_EVENT": "resumed",
        "STICKY_PI_COUNT": "3",
    }


@pytest.fixture
def rig(tmp_path):
    rig = Rig(tmp_path)
    yield rig
    rig.close()


def fields_of(record):
    return {key: value for key, value in vars(record).items() if key.isupper()}


def test_all_that_is_told_of_a_picture_can_be_found_by_its_name(rig, caplog):
    caplog.set_level("INFO")
    rig.add(1)
    rig.step(REFUSED)
    rig.try_again()
    about_it = {
        "STICKY_PI_IMAGE": name(1),
        "STICKY_PI_PATH": name(1),
        "STICKY_PI_DEVICE": "1b74105a",
        "STICKY_PI_DATETIME": "2020-07-05T10:27:16Z",
        "STICKY_PI_MD5": md5(1),
        "STICKY_PI_DESTINATION": HERE,
    }
    assert [fields_of(record) for record in caplog.records] == [
        {
            **about_it,
            "MESSAGE_ID": Kind.REFUSED.value,
            "STICKY_PI_EVENT": "refused",
            "STICKY_PI_STATE": State.PENDING,
            "STICKY_PI_REASON": "status 500",
        },
        {
            **about_it,
            "MESSAGE_ID": Kind.UPLOADED.value,
            "STICKY_PI_EVENT": "uploaded",
            "STICKY_PI_STATE": State.UPLOADED,
        },
    ]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Outcome.STORED, Kind.UPLOADED),
        ((Outcome.HELD, md5(1)), Kind.HELD),
        ((Outcome.CONFLICT, md5(2)), Kind.CONFLICT),
        (REFUSED, Kind.REFUSED),
    ],
)
def test_each_outcome_is_an_event_of_its_kind(rig, caplog, answer, kind):
    caplog.set_level("INFO")
    rig.add(1)
    rig.step(answer)
    assert [record.MESSAGE_ID for record in caplog.records] == [kind.value]
