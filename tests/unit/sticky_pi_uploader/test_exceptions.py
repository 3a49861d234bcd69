import errno

import pytest
from sticky_pi_uploader.exceptions import StateError, in_words


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.EIO, "Input/output error", "/card/a.jpg"), "/card/a.jpg: Input/output error"),
        (OSError(errno.EIO, "Input/output error", b"/card/\xff"), r"/card/\udcff: Input/output error"),
        (OSError(errno.EIO, "Input/output error", 9), "Input/output error"),
        (OSError(errno.EIO, "Input/output error"), "Input/output error"),
        (OSError("no more threads"), "no more threads"),
        (StateError("the outbox can't be read"), "the outbox can't be read"),
    ],
    ids=["a path", "a path that is no text", "an open file", "no file", "no number", "no error of the system"],
)
def test_an_error_in_words_names_the_file_where_it_has_a_name(error, words):
    assert in_words(error) == words
