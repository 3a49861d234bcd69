import base64
import gzip
import hashlib
import http.client
import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from sticky_pi_api.images.tiff import read_exif

DEVICE, WHEN = "1b74105a", "2020-07-05_10-00-00"
COMMON = {
    *("id", "device", "datetime", "md5", "width", "height", "lat", "lng", "alt", "temp", "hum", "device_version"),
    *("datetime_created", "api_version", "url"),
}
NO_FLASH = {"no_flash_shutter_speed", "no_flash_exposure_time", "no_flash_bv", "no_flash_iso"}


def md5_of(blob):
    return hashlib.md5(blob, usedforsecurity=False).hexdigest()


def raw(server, text, patience=5.0):
    """Send bytes over a connection of their own, and return all that comes back until it is closed."""
    with socket.create_connection((server.host, server.port), patience) as connection:
        connection.sendall(text)
        return b"".join(iter(lambda: connection.recv(0x10000), b""))


def wait_for(look):
    """Look until there is something, and return it."""
    deadline = time.monotonic() + 5
    while not (found := look()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return found


def head(visitor, path, **headers):
    token = base64.b64encode(f"{visitor.auth[0]}:".encode()).decode()
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Authorization: Basic {token}"]
    return "\r\n".join([*lines, *(f"{k.replace('_', '-')}: {v}" for k, v in headers.items()), "", ""]).encode()


# Credentials


def test_a_token_comes_with_its_expiration_on_the_servers_clock(serve, visit):
    visitor = visit(serve(clock_offset=1e6).url)
    assert abs(visitor.log_in()["expiration"] - (time.time() + 86400 + 1e6)) < 60


def test_a_token_is_taken_in_place_of_user_and_password(trap):
    _, visitor = trap()
    assert visitor.post("/get_token").status_code == 200


@pytest.mark.parametrize("auth", [None, ("trap", "wrong"), ("nobody", "pollen"), ("trap", ""), ("trap", "pollen")])
def test_without_a_token_nothing_is_to_be_had(trap, auth):
    _, visitor = trap()
    visitor.auth = auth
    answer = visitor.ask((DEVICE, WHEN))
    assert (answer.status_code, answer.text) == (401, "Unauthorized Access")
    assert answer.headers["Content-Type"].startswith("text/plain")


def test_a_token_expires(trap):
    _, visitor = trap(token_life=0.3)
    assert visitor.ask((DEVICE, WHEN)).status_code == 200
    time.sleep(0.35)
    assert visitor.ask((DEVICE, WHEN)).status_code == 401


def test_tokens_can_be_made_worthless_at_once(trap):
    server, visitor = trap()
    server.expire_tokens()
    assert visitor.ask((DEVICE, WHEN)).status_code == 401
    visitor.log_in()
    assert visitor.ask((DEVICE, WHEN)).status_code == 200


def test_a_reader_may_ask_and_not_write(trap, picture):
    server, visitor = trap()
    visitor.log_in("guest")
    assert visitor.ask((DEVICE, WHEN)).status_code == 200
    assert visitor.put(*picture()).status_code == 403
    assert server.objects() == {}


# Asking


def test_rows_have_the_fields_and_datetimes_of_the_generation(trap, picture, generation):
    _, visitor = trap(generation=generation)
    name, blob = picture()
    (stored,) = visitor.put(name, blob).json()
    (row,) = visitor.ask((DEVICE, WHEN)).json()
    of_2021, of_2023 = NO_FLASH | {"api_user"}, {"lum", "bat", "but", "api_user_id"}
    assert set(row) == set(stored) == COMMON | (of_2021 if generation == 2021 else of_2023)
    assert row["datetime"] == (WHEN if generation == 2021 else "2020-07-05T10:00:00Z")
    assert (row["md5"], row["width"], row["height"], row["url"]) == (md5_of(blob), 160, 120, "")
    assert (stored["id"], type(row["id"])) == (None, int)


@pytest.mark.parametrize(("what", "status"), [("metadata", 200), ("thumbnail-mini", 200), ("nonsense", 500)])
def test_what_is_asked_for_has_to_be_known(trap, what, status):
    assert trap()[1].ask((DEVICE, WHEN), what=what).status_code == status


def test_only_2023_takes_iso_datetimes(trap, picture, generation):
    server, visitor = trap(generation=generation)
    server.hold(*picture())
    answer = visitor.ask((DEVICE, "2020-07-05T10:00:00Z"))
    assert answer.status_code == {2021: 500, 2023: 200}[generation]


def test_an_empty_list_is_a_500_on_2023(trap, generation):
    answer = trap(generation=generation)[1].ask()
    assert answer.status_code == {2021: 200, 2023: 500}[generation]


@pytest.mark.parametrize("body", [b"", b"no json", b"{}", b'[{"device": "1b74105a"}]', b'["x"]', b"7"])
def test_a_request_that_makes_no_sense_is_a_500(trap, body):
    assert trap()[1].post("/get_images/metadata", data=body).status_code == 500


def test_devices_are_compared_without_case_and_answered_as_they_are_held(trap, picture):
    server, visitor = trap()
    server.hold(*picture(device="AB12CD34"))
    (row,) = visitor.ask(("ab12cd34", WHEN)).json()
    assert row["device"] == "AB12CD34"


def test_absent_pictures_are_not_in_the_answer_to_thousands_of_entries(trap, picture):
    server, visitor = trap()
    server.hold(*picture(3))
    entries = [(DEVICE, f"2020-07-05_{n // 3600:02}-{n // 60 % 60:02}-{n % 60:02}") for n in range(20_000 * 2)]
    rows = visitor.ask(*entries).json()
    assert [row["datetime"] for row in rows] == ["2020-07-05T10:03:00Z"]
    assert server.requests("/get_images")[0].entries == 40_000


def test_a_series_is_of_devices_like_a_pattern_from_its_start_to_before_its_end(trap, picture):
    server, visitor = trap()
    for minute in range(3):
        server.hold(*picture(minute))
    server.hold(*picture(device="5c173ff2"))
    wanted = {"device": "1B%", "start_datetime": WHEN, "end_datetime": "2020-07-05_10-02-00"}
    rows = visitor.post("/get_image_series/metadata", json=[wanted]).json()
    assert [(row["device"], row["datetime"][14:16]) for row in rows] == [(DEVICE, "00"), (DEVICE, "01")]


@pytest.mark.parametrize("what", ["image", "thumbnail", "thumbnail-mini"])
def test_the_url_of_a_row_leads_to_an_object_whose_etag_is_its_md5(trap, picture, what):
    server, visitor = trap()
    server.hold(*picture())
    (row,) = visitor.ask((DEVICE, WHEN), what=what).json()
    answer = visitor.session.get(row["url"])
    assert answer.headers["ETag"] == f'"{md5_of(answer.content)}"'
    assert answer.content.startswith(b"\xff\xd8")
    assert (answer.content == picture()[1]) == (what == "image")
    assert visitor.session.get(row["url"].replace(DEVICE, "5c173ff2")).status_code == 404
    assert visitor.session.head(row["url"]).status_code == 403


# Uploading


def test_an_upload_is_stored_byte_for_byte_and_receipted(trap, picture, generation):
    server, visitor = trap(generation=generation)
    name, blob = picture()
    answer = visitor.put(name, blob)
    assert [row["md5"] for row in answer.json()] == [md5_of(blob)]
    assert server.objects() == {f"{DEVICE}/{name}": blob}
    assert [row.md5 for row in server.rows()] == [md5_of(blob)]


def test_a_duplicate_is_a_500_and_has_overwritten_the_object(trap, picture, generation):
    server, visitor = trap(generation=generation)
    name, first = picture()
    _, second = picture(seed=1)
    visitor.put(name, first)
    answer = visitor.put(name, second)
    assert answer.status_code == 500
    assert name not in answer.text
    assert [row.md5 for row in server.rows()] == [md5_of(first)]
    assert list(server.objects().values()) == [second]
    assert [file.held for file in server.sent_files()] == [False, True]


def test_a_duplicate_in_another_case_is_refused(trap, picture):
    server, visitor = trap()
    server.hold(*picture(device="AB12CD34"))
    assert visitor.put(*picture(device="ab12cd34")).status_code == 500
    assert len(server.rows()) == 1


def test_only_2023_checks_the_md5(trap, picture, generation):
    server, visitor = trap(generation=generation)
    status = {2021: 200, 2023: 500}[generation]
    assert visitor.put(*picture(0), md5="0" * 32).status_code == status
    assert visitor.put(*picture(1), md5="").status_code == status
    assert len(server.objects()) == {2021: 2, 2023: 0}[generation]


def test_only_2023_takes_2022_pictures(trap, picture, generation):
    server, visitor = trap(generation=generation)
    name, blob = picture(generation=2022, year=2022)
    assert visitor.put(name, blob).status_code == {2021: 500, 2023: 200}[generation]
    assert [file.decodes for file in server.sent_files()] == [True]
    assert [row.fields["bat"] for row in server.rows()] == ([] if generation == 2021 else [72])


def test_the_name_of_the_part_is_the_name_of_the_file(trap, picture):
    server, visitor = trap()
    name, blob = picture()
    answer = visitor.post("/_put_new_images", files={name: ("other.txt", blob), f"{name}.md5": (None, md5_of(blob))})
    assert answer.status_code == 200
    assert visitor.post("/_put_new_images", files={"file": (picture(1)[0], blob)}).status_code == 500
    assert list(server.objects()) == [f"{DEVICE}/{name}"]


def not_a_jpeg(blob):
    return b"\x89PNG\r\n\x1a\n" + blob


def without_exif(blob):
    return blob.replace(b"Exif\0\0", b"Exi_\0\0")


def of_another_camera(blob):
    make = read_exif(blob[blob.index(b"Exif\0\0") + 6 :][:4000]).make.encode()
    return blob.replace(make, b"Canon".ljust(len(make), b"\0"))


@pytest.mark.parametrize("spoil", [not_a_jpeg, without_exif, of_another_camera])
def test_bytes_that_are_no_traps_picture_are_refused_and_nothing_is_stored(trap, picture, spoil):
    server, visitor = trap()
    name, blob = picture()
    assert spoil(blob) != blob
    assert visitor.put(name, spoil(blob)).status_code == 500
    assert (server.rows(), server.objects()) == ([], {})


@pytest.mark.parametrize(
    "name", ["1b74105a.jpg", "1b74105.2020-07-05_10-00-00.jpg", "1b74105a.2019-10-31_23-59-59.jpg", "../x.jpg"]
)
def test_a_name_that_is_no_traps_is_refused(trap, picture, name):
    server, visitor = trap()
    assert visitor.put(name, picture()[1]).status_code == 500
    assert (server.rows(), server.objects()) == ([], {})


def test_of_several_files_those_after_a_bad_one_are_not_stored(trap, picture):
    server, visitor = trap()
    files = form_of(picture(0)) | form_of((picture(1)[0], b"bad")) | form_of(picture(2))
    assert visitor.post("/_put_new_images", files=files).status_code == 500
    assert [row.key.datetime[14:16] for row in server.rows()] == ["00"]


def form_of(picture):
    name, blob = picture
    return {name: (name, blob), f"{name}.md5": (None, md5_of(blob))}


def test_the_same_picture_eight_times_at_once_is_stored_once(trap, picture):
    server, visitor = trap(workers=8, upload_time=0.05)
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda _: visitor.put(*picture()).status_code, range(8)))
    assert sorted(statuses) == [200] + 7 * [500]
    assert len(server.rows()) == 1


def test_a_third_of_the_first_parallel_uploads_after_a_start_fails_with_nothing_stored(trap, picture):
    server, visitor = trap(workers=6, upload_time=0.2, cold_uploads=6)
    with ThreadPoolExecutor(6) as pool:
        statuses = list(pool.map(lambda n: visitor.put(*picture(n)).status_code, range(6)))
    assert sorted(statuses) == 4 * [200] + 2 * [500]
    assert len(server.objects()) == len(server.rows()) == 4
    assert visitor.put(*picture(7)).status_code == 200


def test_each_worker_fails_at_its_first_request_after_a_start_and_after_one_of_the_database(serve, visit):
    server = serve(workers=4, cold_workers=1, worker_choice="in turn")
    visitor = visit(server.url)
    statuses = [visitor.post("/get_token", auth=("trap", "pollen")).status_code for _ in range(6)]
    assert statuses == [500] * 4 + [200] * 2
    visitor.log_in()
    server.restart_database()
    assert [visitor.ask((DEVICE, WHEN)).status_code for _ in range(6)] == [500] * 4 + [200] * 2
    server.restart_database(0.2)
    wait_for(lambda: visitor.ask((DEVICE, WHEN)).status_code == 200)
    assert [entry.status for entry in server.requests("/get_images")].count(500) > 8


def test_any_worker_may_have_a_request_so_that_failures_and_answers_are_mixed(serve, visit):
    server = serve(workers=8, cold_workers=1)
    visitor = visit(server.url)
    statuses = [visitor.post("/get_token", auth=("trap", "pollen")).status_code for _ in range(60)]
    assert statuses.count(500) == 8
    assert statuses.index(200) < 60 - statuses[::-1].index(500) - 1


@pytest.mark.parametrize("wrong", ["no boundary", "another boundary", "cut short", "junk before"])
def test_a_form_that_is_not_well_formed_is_a_500(trap, picture, wrong):
    server, visitor = trap()
    name, blob = picture()
    part = f'--b\r\nContent-Disposition: form-data; name="{name}"; filename="x"\r\n\r\n'.encode() + blob
    body = {"cut short": part, "junk before": b"junk\r\n" + part + b"\r\n--b--\r\n"}.get(wrong, part + b"\r\n--b--\r\n")
    kind = {"no boundary": "multipart/form-data", "another boundary": "multipart/form-data; boundary=c"}.get(
        wrong, "multipart/form-data; boundary=b"
    )
    assert visitor.post("/_put_new_images", data=body, headers={"Content-Type": kind}).status_code == 500
    assert server.objects() == {}


# Hazards


def test_a_jpeg_cut_short_hangs_its_worker_until_that_is_killed(trap, picture):
    server, visitor = trap(hang=0.3, workers=1, respawn=0.1)
    name, blob = picture()
    with ThreadPoolExecutor(1) as pool:
        began = time.monotonic()
        hung = pool.submit(visitor.put, name, blob[: len(blob) // 2])
        wait_for(server.sent_files)
        assert visitor.ask((DEVICE, WHEN)).status_code == 200
        # It had to wait for the one worker, which hung, and then for its successor.
        assert time.monotonic() - began >= 0.4
        assert hung.result().status_code == 502
    assert [(file.decodes, file.md5) for file in server.sent_files()] == [(False, md5_of(blob[: len(blob) // 2]))]
    assert server.objects() == {}


@pytest.mark.parametrize(("workers", "status"), [(2, 200), (1, 504)])
def test_beside_a_hung_worker_another_works_and_without_another_there_is_a_504(trap, picture, workers, status):
    server, visitor = trap(workers=workers, gateway_timeout=0.2)
    with ThreadPoolExecutor(1) as pool:
        hung = pool.submit(visitor.put, picture()[0], picture()[1][:-9])
        wait_for(server.sent_files)
        assert visitor.put(*picture(1)).status_code == status
        server.stop()
        with pytest.raises(requests.ConnectionError):
            hung.result()
    # What the worker will end with is known, and written down, when it begins to hang.
    assert [entry.status for entry in server.requests("/_put_new_images")] == [502, status]


def test_without_hanging_a_jpeg_cut_short_is_a_500(trap, picture):
    assert trap(hang=0)[1].put(picture()[0], picture()[1][:-9]).status_code == 500


# The front


def test_bodies_have_to_have_a_length(trap, picture):
    server, visitor = trap()
    assert visitor.post("/_put_new_images", data=iter([b"x" * 10, b"y"])).status_code == 500
    assert server.requests("/_put_new_images")[0].headers["transfer-encoding"] == "chunked"


def test_compressed_bodies_are_refused(trap):
    body = gzip.compress(json.dumps([{"device": DEVICE, "datetime": WHEN}]).encode())
    answer = trap()[1].post("/get_images/metadata", data=body, headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 400


def test_too_large_a_body_is_refused_before_it_is_sent(trap):
    server, visitor = trap()
    answer = raw(server, head(visitor, "/_put_new_images", Content_Length=100_000_001, Expect="100-continue"), 10)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert [(entry.status, entry.received) for entry in server.requests("/_put_new_images")] == [(413, 0)]


def test_the_sender_of_too_large_a_body_can_read_the_answer(trap, picture):
    _, visitor = trap(largest_body=1_000_000)
    assert visitor.put(picture()[0], bytes(5_000_000)).status_code == 413


def test_a_body_that_stalls_is_dropped_without_an_answer(trap, picture):
    server, visitor = trap(body_stall=0.2)
    name, blob = picture()
    beginning = f'--b\r\nContent-Disposition: form-data; name="{name}"; filename="{name}"\r\n\r\n'.encode()
    kind = "multipart/form-data; boundary=b"
    head_ = head(visitor, "/_put_new_images", Content_Length=len(blob) + 500, Content_Type=kind)
    assert raw(server, head_ + beginning + blob[:1000]) == b""
    (entry,) = server.requests("/_put_new_images")
    assert (entry.status, entry.whole, entry.received) == (None, False, len(beginning) + 1000)
    assert [(file.name, file.size, file.decodes) for file in entry.files] == [(name, 1000, False)]
    assert (server.rows(), server.objects()) == ([], {})


def test_what_breaks_off_half_way_leaves_nothing_stored_and_is_in_the_ledger(trap):
    server, visitor = trap()
    with socket.create_connection((server.host, server.port)) as connection:
        connection.sendall(head(visitor, "/_put_new_images", Content_Length=5000) + b"x" * 1000)
    (entry,) = wait_for(lambda: server.requests("/_put_new_images"))
    assert (entry.status, entry.whole, entry.received) == (None, False, 1000)


def test_connections_are_kept_until_they_were_idle(serve):
    server = serve(idle=0.3)
    connection = http.client.HTTPConnection(server.host, server.port, timeout=5)
    for _ in range(2):
        connection.request("POST", "/get_token")
        connection.getresponse().read()
    assert connection.sock.recv(1) == b""  # closed by the server, without a word
    connection.close()
    assert len({entry.connection for entry in server.requests()[-2:]}) == 1


def test_long_answers_are_compressed_for_those_who_take_that(trap, picture):
    server, visitor = trap()
    for minute in range(5):
        server.hold(*picture(minute))
    entries = [{"device": DEVICE, "datetime": f"2020-07-05_10-{minute:02}-00"} for minute in range(5)]
    encodings = [
        visitor.post("/get_images/metadata", json=asked, headers={"Accept-Encoding": taken}).headers.get(
            "Content-Encoding"
        )
        for asked, taken in [(entries, "gzip"), (entries, "identity"), (entries[:1], "gzip")]
    ]
    assert encodings == ["gzip", None, None]


def test_unknown_paths_are_404_and_other_methods_405(trap):
    server, visitor = trap()
    assert visitor.post("/put_images").status_code == 404
    assert visitor.post("/get_images/metadata/more", json=[]).status_code == 404
    assert visitor.session.get(f"{server.url}/get_token").status_code == 405


# States of the whole server


@pytest.mark.parametrize(
    ("mode", "status", "beginning"),
    [
        ({"name": "unauthorised"}, 401, "Unauthorized"),
        ({"name": "not_an_api"}, 200, "<!doctype html>"),
        ({"name": "redirect", "status": 307, "location": "http://elsewhere.invalid/x"}, 307, "<!doctype html>"),
        ({"name": "wrong_json", "json": {"rows": None}}, 200, '{"rows": null}'),
        ({"name": "maintenance"}, 503, "<!doctype html>"),
    ],
)
def test_a_state_answers_everything_and_nothing_is_stored(trap, picture, mode, status, beginning):
    server, visitor = trap()
    server.set_mode(**mode)
    for answer in (visitor.put(*picture()), visitor.ask((DEVICE, WHEN)), visitor.post("/get_token")):
        assert answer.status_code == status
        assert answer.text.startswith(beginning)
        assert answer.headers.get("Location") == mode.get("location")
        assert "Retry-After" not in answer.headers
    assert server.objects() == {}
    assert [(file.name, file.decodes) for file in server.sent_files()] == [(picture()[0], True)]
    server.set_mode()
    assert visitor.put(*picture()).status_code == 200


def test_a_state_can_be_for_some_paths_alone(trap):
    server, visitor = trap()
    server.set_mode("maintenance", retry_after="120", paths=("/get_images",))
    answer = visitor.ask((DEVICE, WHEN))
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "120")
    assert visitor.post("/get_token").status_code == 200


def test_full_storage_refuses_uploads_and_answers_the_rest(trap, picture):
    server, visitor = trap()
    server.set_mode("refuse_uploads")
    assert visitor.put(*picture()).status_code == 500
    assert visitor.ask((DEVICE, WHEN)).json() == []
    assert (server.rows(), server.objects()) == ([], {})


def test_a_server_that_is_down_refuses_connections_and_closes_those_it_has(trap):
    server, visitor = trap()
    with socket.create_connection((server.host, server.port), 5) as connection:
        connection.sendall(b"POST /get_token HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(0x10000).startswith(b"HTTP/1.1 401")
        server.set_mode("down")
        assert connection.recv(0x10000) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((server.host, server.port), 5)
    server.set_mode()
    assert visitor.ask((DEVICE, WHEN)).status_code == 200


def test_a_restart_keeps_the_port_and_the_pictures_and_forgets_the_tokens(serve, visit, picture):
    server = serve()
    visitor = visit(server.url)
    visitor.log_in()
    visitor.put(*picture())
    url = server.url
    server.stop()
    server.start()
    assert server.url == url
    assert visitor.ask((DEVICE, WHEN)).status_code == 401
    visitor.log_in()
    assert len(visitor.ask((DEVICE, WHEN)).json()) == 1


def test_a_state_that_there_is_not_is_an_error(standing):
    with pytest.raises(ValueError, match="'downn'"):
        standing().set_mode("downn")


# The ledger


def test_the_ledger_says_how_each_request_was_authenticated_and_never_a_secret(serve, visit, tmp_path):
    server = serve()
    visitor = visit(server.url)
    visitor.log_in()
    visitor.post("/get_token", auth=None)
    visitor.post("/get_token", auth=None, headers={"Authorization": "Basic %%%"})
    visitor.ask((DEVICE, WHEN))
    assert [(entry.auth, entry.user) for entry in server.requests()] == [
        ("password", "trap"),
        ("none", ""),
        ("malformed", ""),
        ("token", ""),
    ]
    text = (tmp_path / "server0" / "ledger.jsonl").read_text()
    assert "pollen" not in text
    assert visitor.auth[0] not in text


def test_a_reset_makes_the_server_as_new(trap, picture):
    server, visitor = trap()
    visitor.put(*picture())
    server.set_mode("maintenance")
    server.reset()
    assert (server.requests(), server.rows(), server.objects()) == ([], [], {})
    assert visitor.ask((DEVICE, WHEN)).status_code == 401
