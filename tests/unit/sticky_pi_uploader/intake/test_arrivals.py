"""What is kept in mind of the folder to which pictures come, told by the questions that a real outbox is asked."""

import pytest
from sticky_pi_uploader.intake import arrivals as module
from sticky_pi_uploader.intake.arrivals import Arrivals
from sticky_pi_uploader.outbox import Outbox

DAY, OTHER_DAY = "5c173ff2/2020-06-20", "5c173ff2/2020-06-21"


@pytest.fixture
def outbox(tmp_path):
    with Outbox(str(tmp_path / "outbox.db"), longest_wait=1800) as outbox:
        yield outbox


@pytest.fixture
def questions(outbox):
    """Count the questions that the outbox is asked from here on."""
    asked = []
    outbox.database.connection.set_trace_callback(asked.append)
    return asked


def name(number, folder=DAY):
    return f"{folder}/5c173ff2.2020-06-20_00-00-{number:02}.jpg"


def test_from_the_third_on_a_new_one_takes_no_question(outbox, questions):
    arrivals = Arrivals(outbox.catalog)
    assert [arrivals.known_at(name(number)) for number in range(2)] == [None, None]
    del questions[:]
    assert [arrivals.known_at(name(number)) for number in range(2, 50)] == [None] * 48
    assert questions == []


@pytest.mark.parametrize("arrived", [0, 1, 2])
def test_what_was_recorded_before_is_known_as_the_outbox_has_it(outbox, taken, arrived):
    outbox.catalog.record([taken(name(7), 7)])
    arrivals = Arrivals(outbox.catalog)
    for number in range(arrived):
        assert arrivals.known_at(name(number)) is None
    assert arrivals.known_at(name(7)) == outbox.catalog.known_at(name(7)) is not None
    outbox.catalog.lose(outbox.at(name(7)))
    assert arrivals.known_at(name(7)).fingerprint is None


def test_what_is_recorded_meanwhile_is_known(outbox, taken):
    arrivals = Arrivals(outbox.catalog)
    for number in range(5):
        assert arrivals.known_at(name(number)) is None
        outbox.catalog.record([taken(name(number), number)])
        arrivals.know(name(number))
        assert arrivals.known_at(name(number)) == outbox.catalog.known_at(name(number))


def test_another_folder_is_another_matter(outbox, taken, questions):
    arrivals = Arrivals(outbox.catalog)
    for number in range(3):
        arrivals.known_at(name(number))
    outbox.catalog.record([taken(name(number, OTHER_DAY), number) for number in range(3)])
    assert None not in [arrivals.known_at(name(number, OTHER_DAY)) for number in range(3)]
    outbox.catalog.record([taken(name(3), 3)])
    assert arrivals.known_at(name(3)) is not None


def test_where_pictures_come_to_folders_in_turn_one_question_is_asked_for_each(outbox, taken, questions):
    outbox.catalog.record([taken(name(number, folder), number) for number in range(50) for folder in (DAY, OTHER_DAY)])
    arrivals = Arrivals(outbox.catalog)
    del questions[:]
    for number in range(50, 60):
        assert [arrivals.known_at(name(number, folder)) for folder in (DAY, OTHER_DAY)] == [None, None]
    assert len(questions) == 20


def test_too_many_are_not_kept_in_mind(outbox, taken, questions, monkeypatch):
    monkeypatch.setattr(module, "MOST", 3)
    arrivals = Arrivals(outbox.catalog)
    for number in range(10):
        assert arrivals.known_at(name(number)) is None
        outbox.catalog.record([taken(name(number), number)])
        arrivals.know(name(number))
    del questions[:]
    assert None not in [arrivals.known_at(name(number)) for number in range(10)]
    assert len(questions) == 10
    again = Arrivals(outbox.catalog)
    assert None not in [again.catalog.known_at(name(number)) for number in range(10)]
    assert again.catalog.known_at(name(10)) is None
