import pytest
from sticky_pi_uploader.wording import counted, held


@pytest.mark.parametrize(
    ("count", "words", "text"),
    [
        (0, ["picture"], "0 pictures"),
        (1, ["picture"], "1 picture"),
        (2048, ["picture"], "2,048 pictures"),
        (1, ["picture needs a look", "pictures need a look"], "1 picture needs a look"),
        (2, ["picture needs a look", "pictures need a look"], "2 pictures need a look"),
    ],
)
def test_a_number_has_its_noun_in_the_singular_only_for_one(count, words, text):
    assert counted(count, *words) == text


@pytest.mark.parametrize(
    ("until", "text"),
    [(None, "held: why"), (1_700_000_000.0, "held until 22:13 UTC: why"), (0.0, "held until 00:00 UTC: why")],
)
def test_a_hold_is_one_line(until, text):
    assert held("why", until) == text
