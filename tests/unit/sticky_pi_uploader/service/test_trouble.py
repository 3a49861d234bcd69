import json
import os

import pytest
from sticky_pi_uploader.service.trouble import Advice, Trouble, TroubleFile, read_trouble

STATE = "/sticky_pi_data/.sticky-pi-uploader"
REFUSED = Trouble("the last reload was refused", Advice.MEND_CONFIG)
UNREADABLE = Trouble("secret can't be read", Advice.LET_READ)


@pytest.fixture
def environ(tmp_path):
    return {"RUNTIME_DIRECTORY": str(tmp_path)}


@pytest.fixture
def file(tmp_path):
    return tmp_path / "trouble.json"


def told(environ, state_dir=STATE):
    return [(each.what, each.advice, each.since) for each in read_trouble(state_dir, environ)]


def test_each_trouble_is_told_with_the_time_since_which_it_lasts(environ):
    now = [1_600_000_000.0]
    trouble_file = TroubleFile(environ, clock=lambda: now[0])
    trouble_file.record(STATE, [REFUSED])
    now[0] += 60
    trouble_file.record(STATE, [UNREADABLE, REFUSED])
    assert told(environ) == [
        (UNREADABLE.what, UNREADABLE.advice, 1_600_000_060.0),
        (REFUSED.what, REFUSED.advice, 1_600_000_000.0),
    ]
    trouble_file.record(STATE, [UNREADABLE])
    now[0] += 60
    trouble_file.record(STATE, [REFUSED])
    assert told(environ) == [(REFUSED.what, REFUSED.advice, 1_600_000_120.0)]
    trouble_file.record(STATE, [])
    assert told(environ) == []


def test_the_file_has_no_text_of_the_advice_which_root_may_paste(environ, file):
    TroubleFile(environ).record(STATE, [REFUSED])
    (written,) = json.loads(file.read_text())["trouble"]
    assert (written["what"], written["advice"]) == (REFUSED.what, "MEND_CONFIG")


def test_the_file_is_written_only_when_the_trouble_changes(environ, file):
    trouble_file = TroubleFile(environ)
    trouble_file.record(STATE, [REFUSED])
    before = file.stat()
    trouble_file.record(STATE, [REFUSED])
    assert os.path.samestat(file.stat(), before)
    trouble_file.record(STATE, [UNREADABLE])
    assert not os.path.samestat(file.stat(), before)


def test_a_service_that_starts_forgets_the_trouble_of_the_one_before(environ):
    TroubleFile(environ).record(STATE, [REFUSED])
    TroubleFile(environ).record(STATE, [])
    assert told(environ) == []


def test_trouble_is_told_for_the_service_on_the_same_state_folder_alone(environ, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    TroubleFile(environ).record(str(tmp_path), [REFUSED])
    assert len(told(environ, str(link))) == 1
    assert told(environ, "/elsewhere") == []
    assert len(told(environ, None)) == 1


def test_without_a_runtime_directory_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    TroubleFile({}).record(STATE, [REFUSED])
    assert list(tmp_path.iterdir()) == []


def test_where_nothing_can_be_written_the_service_goes_on(tmp_path):
    environ = {"RUNTIME_DIRECTORY": str(tmp_path / "missing")}
    TroubleFile(environ).record(STATE, [REFUSED])
    assert told(environ) == []


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("", id="empty"),
        pytest.param("{", id="cut short"),
        pytest.param("[" * 100_000, id="deep"),
        pytest.param("[]", id="another kind"),
        pytest.param(json.dumps({"state_dir": STATE, "trouble": [{"what": "x"}]}), id="a field is missing"),
        pytest.param(
            json.dumps({"state_dir": STATE, "trouble": [{"what": 1, "advice": "WAIT", "since": "x"}]}), id="text"
        ),
        pytest.param(
            json.dumps({"state_dir": STATE, "trouble": [{"what": "x", "advice": "sudo rm", "since": 0}]}),
            id="another's advice",
        ),
        pytest.param(json.dumps({"state_dir": 7, "trouble": []}), id="a number for a folder"),
        pytest.param(json.dumps({"state_dir": "\0", "trouble": []}), id="a zero byte"),
    ],
)
def test_what_another_program_may_have_written_there_tells_nothing(environ, file, content):
    file.write_text(content)
    assert told(environ) == []


def test_neither_a_link_nor_a_pipe_in_its_place_is_opened(environ, file, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text(json.dumps({"state_dir": STATE, "trouble": [{"what": "x", "advice": "WAIT", "since": 0}]}))
    file.symlink_to(elsewhere)
    assert told(environ) == []
    file.unlink()
    os.mkfifo(file)
    assert told(environ) == []
