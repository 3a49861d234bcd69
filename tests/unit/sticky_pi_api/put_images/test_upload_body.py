"""The form that carries a picture: what is in it, and that it ends only with the right bytes."""

import io

import pytest
from api_server.multipart import Part, read_parts, read_parts_so_far
from sticky_pi_api.exceptions import FilenameError, ImageChangedError, ImageError
from sticky_pi_api.filesystem.safe_open import FileFailedError
from sticky_pi_api.image_parser import ImageParser
from sticky_pi_api.put_images.upload_body import UploadBody
from sticky_pi_api.transport.rate_limit import LARGEST_BLOCK, RateLimit

NAME = "1b74105a.2020-07-05_10-07-16.jpg"
NO_LIMIT = RateLimit(None)


@pytest.fixture
def parser(make_trap_picture):
    return ImageParser(make_trap_picture(size=(1600, 1200), quality=95))


def test_the_form_has_the_picture_and_its_md5_and_nothing_else(parser):
    with parser.open() as stream:
        body = UploadBody(parser, stream, NO_LIMIT)
        blocks = list(body)
    assert sum(map(len, blocks)) == len(body)
    assert max(map(len, blocks)) < LARGEST_BLOCK + 300
    assert len(blocks) > 4
    assert read_parts(body.content_type, b"".join(blocks)) == [
        Part(NAME, NAME, parser.file_blob),
        Part(f"{NAME}.md5", None, parser["md5"].encode()),
    ]
    assert b"Content-Type: application/octet-stream\r\n" in blocks[0]


def test_what_goes_around_a_picture_is_less_than_a_thousandth_of_2_mb(parser):
    with parser.open() as stream:
        assert len(UploadBody(parser, stream, NO_LIMIT)) - len(parser.file_blob) < 500


def test_it_says_how_much_of_it_was_taken_and_can_be_taken_again(parser):
    with parser.open() as stream:
        body = UploadBody(parser, stream, NO_LIMIT)
        assert (body.begun, body.whole, body.may_repeat) == (False, False, True)
        blocks = iter(body)
        next(blocks)
        assert (body.begun, body.whole, body.may_repeat) == (True, False, False)
        *_, last = blocks
        assert body.whole
        assert b"".join(body).endswith(last)


@pytest.mark.parametrize("change", [lambda blob: blob[:-1], lambda blob: blob + b"x", lambda blob: blob[:-1] + b"x"])
def test_bytes_that_are_not_the_recorded_ones_never_end_the_form(parser, change):
    blob = change(parser.file_blob)
    body = UploadBody(parser, io.BytesIO(blob), NO_LIMIT)
    blocks = []
    with pytest.raises(ImageChangedError, match="it was not sent"):
        blocks.extend(iter(body))
    sent = b"".join(blocks)
    assert not body.whole
    ((name, _, content),) = [
        (part.name, part.filename, part.content) for part in read_parts_so_far(body.content_type, sent)
    ]
    assert name == NAME
    assert len(content) < len(blob)


def test_a_file_that_grows_or_shrinks_while_it_is_sent_never_ends_the_form(parser):
    for change in (lambda file: file.truncate(70_000), lambda file: (file.seek(0, 2), file.write(b"more"))):
        parser.forget_blob()
        blob = parser.file_blob
        with parser.open() as stream:
            blocks = iter(UploadBody(parser, stream, NO_LIMIT))
            next(blocks)
            with open(parser.path, "r+b") as file:
                change(file)
            with pytest.raises(ImageChangedError):
                list(blocks)
        with open(parser.path, "wb") as file:
            file.write(blob)


def test_a_file_that_can_not_be_read_on_is_no_network_error(parser):
    class Failing(io.BytesIO):
        def read(self, _size=-1):
            raise OSError(5, "Input/output error")

    with pytest.raises(FileFailedError) as raised:
        list(UploadBody(parser, Failing(b"x" * 10), NO_LIMIT))
    assert raised.value.error.errno == 5
    assert not isinstance(raised.value, OSError)


def test_a_picture_that_no_server_takes_by_its_name_has_no_form(parser):
    for device, when in (("not-hex!", parser["datetime"]), ("1b74105a", parser["datetime"].replace(year=2000))):
        fields = {**parser, "device": device, "datetime": when}
        with pytest.raises(FilenameError):
            UploadBody(ImageParser.restore(parser.path, fields, b"", b""), io.BytesIO(), NO_LIMIT)


def test_what_is_no_file_is_not_opened(tmp_path, parser):
    with pytest.raises(ImageError, match="a folder"), ImageParser.restore(tmp_path, parser, b"", b"").open():
        pass


def test_the_rate_limit_is_asked_for_every_byte(parser, clock):
    limit = RateLimit(100_000, clock=clock, sleep=clock.sleep)
    with parser.open() as stream:
        body = UploadBody(parser, stream, limit)
        assert max(map(len, body)) <= limit.block + 300
    assert clock.now - 1000 >= (len(body) - limit.block - 300) / 100_000
