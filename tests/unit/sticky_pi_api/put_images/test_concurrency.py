import pytest
from sticky_pi_api.put_images.concurrency import QUICK_UPLOAD, ConcurrencyLimit


def test_one_goes_up_at_a_time_until_it_is_known_how_long_that_takes():
    assert ConcurrencyLimit(4).uploads == 1


@pytest.mark.parametrize(("most", "at_once"), [(1, 1), (2, 1), (3, 1), (4, 2), (8, 4)])
def test_where_pictures_go_up_quickly_half_of_those_sent_do_while_the_others_wait_for_answers(most, at_once):
    limit = ConcurrencyLimit(most)
    limit.measured(QUICK_UPLOAD, beside=0)
    assert limit.uploads == at_once


def test_the_time_that_a_picture_took_is_shared_with_those_beside_it():
    limit = ConcurrencyLimit(4)
    limit.measured(2 * QUICK_UPLOAD, beside=1)
    assert limit.uploads == 2
    limit.measured(2 * QUICK_UPLOAD, beside=0)
    assert limit.uploads == 1
