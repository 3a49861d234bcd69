import errno

import pytest
from sticky_pi_api.exceptions import StoreError
from sticky_pi_api.local.errors import blaming_the_store


@pytest.mark.parametrize(
    ("file", "place"),
    [("/usb/a.jpg", r" \(/usb/a\.jpg\)"), (7, ""), (None, "")],
    ids=["a path", "an open file", "none"],
)
def test_a_failed_call_is_the_stores_fault_and_names_the_file_where_it_has_a_name(tmp_path, file, place):
    with (
        pytest.raises(StoreError, match=rf"Input/output error{place}$|I/O error{place}$"),
        blaming_the_store(str(tmp_path)),
    ):
        raise OSError(errno.ERANGE, "Input/output error", file)
