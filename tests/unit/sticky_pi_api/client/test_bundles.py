"""Machine-learning bundles go to every kind of client and come back, and nothing goes where it doesn't belong."""

import os
import signal
import warnings
from functools import partial

import pytest
from api_server import ApiServer
from fault_proxy import Fault, FaultProxy, Rule
from program import python
from sticky_pi_api.bundles.transfer import receive
from sticky_pi_api.client import LocalClient
from sticky_pi_api.exceptions import (
    AccountError,
    BundleError,
    NoBundleWarning,
    NotAnAPIError,
    RemoteError,
    UnavailableError,
)
from sticky_pi_api.transport.cancellation import Timeouts
from sticky_pi_api.utils import local_bundle_files_info

NAME = "insect-detector"
FILES = {
    "config/config.yaml": b"lr: 0.1\n",
    "data/a.jpg": b"\xff\xd8 picture",
    "data/a.svg": b"",
    "data/deep/er/b.jpeg": b"deep",
    "output/model_final.pth": bytes(range(256)) * 40_000,
    "notes.yml": b"top",
}
IGNORED = {"data/readme.txt": b"x", "output/model_0001.pth": b"x", ".cache/c.yaml": b"x", "data/.cache/d.jpg": b"x"}
MTIME = 1_600_000_000.25
SETS = {
    "all": set(FILES),
    "data": {"config/config.yaml", "data/a.jpg", "data/a.svg"},
    "model": {"config/config.yaml", "output/model_final.pth"},
}


def write(folder, files, mtime=MTIME):
    for key, blob in files.items():
        path = folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(blob)
        os.utime(path, (mtime, mtime))
    return folder


def keys(rows):
    return [row["key"] for row in rows]


def content(folder):
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def bundle(tmp_path):
    """A bundle's folder, one file of which is larger than a part."""
    return write(tmp_path / "bundle", FILES | IGNORED)


def test_a_bundle_goes_and_comes_back_with_its_mtimes(client, bundle, tmp_path):
    sent = client.put_ml_bundle_dir(NAME, str(bundle))
    assert keys(sent) == sorted(FILES)
    assert sent == local_bundle_files_info(bundle)
    fetched = client.get_ml_bundle_dir(NAME, str(tmp_path / "back"), "all")
    assert sorted(keys(fetched)) == sorted(FILES)
    assert content(tmp_path / "back") == {key: (blob, MTIME) for key, blob in FILES.items()}


def test_the_second_time_nothing_is_sent_or_fetched(client, bundle, tmp_path):
    client.put_ml_bundle_dir(NAME, bundle)
    assert client.put_ml_bundle_dir(NAME, bundle) == []
    assert client.get_ml_bundle_dir(NAME, bundle, "all") == []
    client.get_ml_bundle_dir(NAME, tmp_path / "back", "all")
    assert client.get_ml_bundle_dir(NAME, tmp_path / "back", "all") == []


@pytest.mark.parametrize("what", ["data", "model"])
def test_a_part_of_a_bundle_can_be_sent_and_fetched_alone(client, bundle, tmp_path, what):
    assert set(keys(client.put_ml_bundle_dir(NAME, bundle, what))) == SETS[what]
    client.put_ml_bundle_dir(NAME, bundle)
    assert set(keys(client.get_ml_bundle_dir(NAME, tmp_path / "back", what))) == SETS[what]
    assert set(content(tmp_path / "back")) == SETS[what]


@pytest.mark.parametrize(("age", "goes"), [(-10, False), (0, False), (10, True)])
def test_a_changed_file_is_sent_only_if_it_is_newer(client, bundle, age, goes):
    client.put_ml_bundle_dir(NAME, bundle)
    write(bundle, {"data/a.jpg": b"changed"}, MTIME + age)
    assert keys(client.put_ml_bundle_dir(NAME, bundle)) == ["data/a.jpg"] * goes


@pytest.mark.parametrize(("age", "comes"), [(-10, True), (0, True), (10, False)])
def test_a_file_is_fetched_over_a_changed_one_unless_that_is_newer(client, bundle, tmp_path, age, comes):
    client.put_ml_bundle_dir(NAME, bundle)
    back = write(tmp_path / "back", FILES)
    write(back, {"data/a.jpg": b"changed"}, MTIME + age)
    assert keys(client.get_ml_bundle_dir(NAME, back, "all")) == ["data/a.jpg"] * comes
    assert (back / "data/a.jpg").read_bytes() == (FILES["data/a.jpg"] if comes else b"changed")


def test_the_same_bytes_with_another_mtime_are_left_alone(client, bundle):
    client.put_ml_bundle_dir(NAME, bundle)
    for age in (10, -10):
        write(bundle, {"data/a.jpg": FILES["data/a.jpg"]}, MTIME + age)
        assert client.put_ml_bundle_dir(NAME, bundle) == []
        assert client.get_ml_bundle_dir(NAME, bundle, "all") == []


def test_of_a_bundle_that_is_not_there_nothing_comes_but_a_warning(client, tmp_path):
    with pytest.warns(NoBundleWarning, match="nobody-has-it") as seen:
        assert client.get_ml_bundle_dir("nobody-has-it", tmp_path / "back", "all") == []
    assert not (tmp_path / "back").exists()
    assert seen[0].filename == __file__


def test_an_empty_folder_sends_nothing(client, tmp_path):
    (tmp_path / "empty").mkdir()
    assert client.put_ml_bundle_dir(NAME, tmp_path / "empty") == []
    with pytest.raises(FileNotFoundError, match="absent"):
        client.put_ml_bundle_dir(NAME, tmp_path / "absent")


def test_what_is_not_known_is_refused_with_what_is(client, bundle):
    for ask in (
        lambda: client.put_ml_bundle_dir(NAME, bundle, "weights"),
        lambda: client.get_ml_bundle_dir(NAME, bundle, "weights"),
        lambda: client._get_ml_bundle_file_list(NAME, "weights"),
    ):
        with pytest.raises(ValueError, match="all, data, model"):
            ask()


@pytest.mark.parametrize("name", ["", ".", "..", "../other", "/tmp/x", "a/b", "a\\b", "a\0b", ".hidden", "\udcff", 5])
def test_a_name_that_leads_elsewhere_is_refused(client, bundle, name, tmp_path):
    before = content(tmp_path)
    for ask in (
        lambda: client.put_ml_bundle_dir(name, bundle),
        lambda: client.get_ml_bundle_dir(name, bundle, "all"),
        lambda: client._get_ml_bundle_file_list(name),
        lambda: client._get_ml_bundle_upload_links(name, []),
    ):
        with pytest.raises(BundleError, match="the bundle's name"):
            ask()
    assert content(tmp_path) == before


BAD_KEYS = [
    "",
    "..",
    "../x.yaml",
    "a/../../x.yaml",
    "/tmp/x.yaml",
    "a//x.yaml",
    "./x.yaml",
    "a\\..\\x.yaml",
    "a\0.yaml",
    ".incoming-123.0123456789ab",
    "data/.incoming-a.yaml",
]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        *(({"key": key}, "can't be used") for key in [*BAD_KEYS, "\udcff.yaml", None]),
        ({"md5": None}, "'md5'"),
        ({"mtime": "x"}, "'mtime'"),
        *(({"mtime": number}, "'mtime'") for number in (float("nan"), float("inf"), 10**400)),
    ],
)
def test_an_entry_of_the_callers_that_makes_no_sense_or_leads_elsewhere_is_refused(client, change, match):
    with pytest.raises(ValueError, match=match):
        client._get_ml_bundle_upload_links(NAME, [{"key": "a.yaml", "md5": "0" * 32, "mtime": MTIME, **change}])


@pytest.mark.parametrize("key", BAD_KEYS[1:])
def test_a_key_of_the_servers_that_leads_elsewhere_is_refused_before_anything_is_fetched(remote, server, tmp_path, key):
    server.hold_bundle_file(NAME, "a.yaml", b"fine", MTIME)
    server.hold_bundle_file(NAME, key, b"hostile", MTIME)
    client = remote(server.port)
    before = content(tmp_path)
    with pytest.raises(ValueError, match="can't be used"):
        client.get_ml_bundle_dir(NAME, tmp_path / "in" / "here", "all")
    assert content(tmp_path) == before
    assert server.requests("/bucket/") == []


def test_a_file_that_is_named_like_one_that_has_not_come_whole_is_named_before_anything_is_sent(client, bundle):
    write(bundle, {"data/.incoming-notes.yaml": b"mine"})
    with pytest.raises(ValueError, match=r"'data/\.incoming-notes\.yaml' can't be used: .*rename it"):
        client.put_ml_bundle_dir(NAME, bundle)
    assert client._get_ml_bundle_file_list(NAME) == []


def test_a_link_on_the_way_out_of_the_folder_is_refused(client, bundle, tmp_path):
    client.put_ml_bundle_dir(NAME, bundle)
    (tmp_path / "back").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "back" / "data").symlink_to(tmp_path / "outside")
    with pytest.raises(ValueError, match="leads out of the bundle's folder"):
        client.get_ml_bundle_dir(NAME, tmp_path / "back", "all")
    assert list((tmp_path / "outside").iterdir()) == []


def test_a_folder_that_is_itself_a_link_is_fine(client, bundle, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    client.put_ml_bundle_dir(NAME, bundle)
    assert len(client.get_ml_bundle_dir(NAME, tmp_path / "link", "all")) == len(FILES)


def test_a_damaged_file_of_a_bundle_is_never_kept(kind, client, standing_servers, bundle, tmp_path):
    """Its listing and its bytes don't go together."""
    client.put_ml_bundle_dir(NAME, bundle)
    rows = client._get_ml_bundle_file_list(NAME)
    (row,) = (row for row in rows if row["key"] == "data/a.jpg")
    if kind == "local":
        with open(row["url"], "wb") as file:
            file.write(b"damaged")
    else:
        standing_servers[kind].hold_bundle_file(NAME, row["key"], b"damaged", MTIME)
    path = tmp_path / "back" / "a.jpg"
    into = partial(receive, path=str(path), key=row["key"], md5=row["md5"], mtime=row["mtime"])
    with pytest.raises(BundleError if kind == "local" else UnavailableError, match="aren't the announced ones"):
        client._fetch_bundle_file(row, into)
    assert list((tmp_path / "back").iterdir()) == []


def test_a_file_that_changes_before_it_is_sent_is_noticed(client, bundle):
    info = local_bundle_files_info(bundle, "model")
    links = {row["key"]: row["url"] for row in client._get_ml_bundle_upload_links(NAME, info)}
    for file in info:
        write(bundle, {file["key"]: b"other" + FILES[file["key"]]})
        with pytest.raises(BundleError, match=file["key"]):
            client._send_bundle_file(file, links[file["key"]])
    assert client._get_ml_bundle_file_list(NAME) == []


KILLED_AT_AN_EVENT = """
left = {whole}
def kill(event, arguments):
    global left
    if event == {event!r} and "/.incoming-" in str(arguments[0]):
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
sys.addaudithook(kill)
"""
KILLED_HALF_WAY = """
resource.setrlimit(resource.RLIMIT_FSIZE, (5_000_000, 5_000_000))
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
"""
PUT = """
import os, resource, signal, sys
from sticky_pi_api.client import LocalClient
with LocalClient(sys.argv[1]) as client:
    exec(sys.argv[2])
    client.put_ml_bundle_dir(sys.argv[3], sys.argv[4])
"""


@pytest.mark.parametrize(
    ("killed", "whole"),
    [
        *((KILLED_AT_AN_EVENT.format(event="open", whole=whole), whole) for whole in (0, 1, 5)),
        *((KILLED_AT_AN_EVENT.format(event="os.rename", whole=whole), whole) for whole in (0, 1, 5)),
        (KILLED_HALF_WAY, sorted(FILES).index("output/model_final.pth")),
    ],
    ids=[*(f"{at} {whole}" for at in ("before the file of", "before the name of") for whole in (0, 1, 5)), "half-way"],
)
def test_a_put_that_is_killed_leaves_nothing_half_there(bundle, tmp_path, killed, whole):
    store = tmp_path / "store"
    assert python(PUT, store, killed, NAME, bundle).returncode in (-signal.SIGKILL, -signal.SIGXFSZ)
    expected = {info["key"]: info["md5"] for info in local_bundle_files_info(bundle)}
    there = local_bundle_files_info(store / "ml" / NAME)
    assert len(there) == whole
    assert all(expected[info["key"]] == info["md5"] and info["mtime"] == MTIME for info in there)
    with LocalClient(store) as client:
        sent = client.put_ml_bundle_dir(NAME, bundle)
    assert sorted(keys(sent) + keys(there)) == sorted(expected)


def test_nothing_of_the_account_goes_to_the_storage(remote, server, bundle, tmp_path):
    client = remote(server.port)
    client.put_ml_bundle_dir(NAME, bundle)
    client.get_ml_bundle_dir(NAME, tmp_path / "back", "all")
    storage = server.requests("/bucket/")
    assert [entry.method for entry in storage] == ["POST"] * len(FILES) + ["GET"] * len(FILES)
    assert {(entry.auth, entry.user) for entry in storage} == {("none", "")}
    assert all(int(entry.headers["content-length"]) == entry.received for entry in storage if entry.method == "POST")
    assert not any("transfer-encoding" in entry.headers for entry in storage)
    asked = [entry for entry in server.requests() if entry not in storage]
    assert [entry.auth for entry in asked] == ["password", *["token"] * (len(asked) - 1)]


def test_local_paths_are_not_told_to_the_server(remote, server, bundle, proxy):
    info = local_bundle_files_info(bundle)
    links = remote(proxy.port)._get_ml_bundle_upload_links(NAME, info)
    assert len(links) == len(FILES)
    for link in links:
        assert set(link) == {"bundle_name", "key", "md5", "mtime", "url"}
    (entry,) = server.requests("/_get_ml_bundle_upload_links")
    assert entry.entries == len(FILES)


@pytest.mark.parametrize(
    ("mode", "error"),
    [
        ({"name": "redirect", "location": "http://elsewhere.invalid/"}, "sends to http://elsewhere.invalid/"),
        ({"name": "maintenance", "retry_after": "7"}, "503"),
        ({"name": "not_an_api"}, "200|announced"),
        ({"name": "unauthorised"}, "401"),
    ],
)
def test_a_storage_that_does_not_do_it_is_an_error_that_hides_the_link(
    remote, server, bundle, tmp_path, *, mode, error
):
    client = remote(server.port)
    client.put_ml_bundle_dir(NAME, bundle, "model")
    server.set_mode(paths=("/bucket/",), **mode)
    for ask in (
        lambda: client.put_ml_bundle_dir(NAME, bundle),
        lambda: client.get_ml_bundle_dir(NAME, tmp_path / "back", "all"),
    ):
        with pytest.raises(RemoteError, match=error) as raised:
            ask()
        assert "ignature" not in str(raised.value)
    assert not (tmp_path / "back").exists() or content(tmp_path / "back") == {}
    # One request each: nothing is asked again of itself, or followed.
    assert len([entry for entry in server.requests("/bucket/") if entry.status != 204]) == 2


@pytest.fixture
def storage_behind_a_proxy(tmp_path):
    """A server, and the proxy through which its links lead."""
    with ApiServer(tmp_path / "server") as server, FaultProxy(server.port) as proxy:
        port = server.port
        server.stop()
        with ApiServer(tmp_path / "server", port=port, object_url=f"http://127.0.0.1:{proxy.port}") as again:
            yield again, proxy


@pytest.mark.parametrize("direction", ["up", "down"])
@pytest.mark.parametrize("fault", ["reset", "stall"])
def test_a_transfer_that_breaks_leaves_nothing_half_there_and_goes_on_later(
    remote, storage_behind_a_proxy, tmp_path, direction, fault
):
    server, proxy = storage_behind_a_proxy
    bundle = write(tmp_path / "bundle", {"output/model_final.pth": FILES["output/model_final.pth"]})
    client = remote(server.port, timeouts=Timeouts(connect=10.0, read=1.0, whole=30.0))
    move = partial(client.put_ml_bundle_dir, NAME, bundle, "model")
    if direction == "down":
        move()
        move = partial(client.get_ml_bundle_dir, NAME, tmp_path / "back", "model")
    # One that finds its kept connection broken may try once more.
    proxy.set(rules=(Rule((Fault(fault, direction=direction, at=300_000),), path="/bucket/", times=2),))
    with pytest.raises(RemoteError):
        move()
    assert len(server.bundle_files(NAME)) == (direction == "down")
    assert not (tmp_path / "back").exists() or list((tmp_path / "back").rglob("*.*")) == []
    proxy.reset()
    assert keys(move()) == ["output/model_final.pth"]
    assert move() == []


@pytest.mark.parametrize(
    "rows",
    [
        {},
        [1],
        [{}],
        [{"key": "a.yaml", "url": "ftp://h/x", "md5": "", "mtime": 1}],
        [{"key": "a.yaml", "url": "http://u:p@h/x", "md5": "", "mtime": 1}],
        [{"key": "a.yaml", "url": "http:///x", "md5": "", "mtime": 1}],
        [{"key": "a.yaml", "url": "http://h/x", "md5": 5, "mtime": 1}],
        [{"key": "a.yaml", "url": "http://h/x", "md5": "", "mtime": 1e300}],
        [{"key": "a.yaml", "url": "http://h/x", "md5": "", "mtime": 10**400}],
        [{"key": "a.yaml", "url": {"url": "http://h/x", "fields": {"key": 1}}, "md5": "", "mtime": 1}],
        [{"key": "b.yaml", "url": {"url": "http://h/x", "fields": {}}, "md5": "", "mtime": 1}],
    ],
)
def test_an_answer_of_another_shape_is_no_apis(remote, server, tmp_path, rows):
    server.set_mode("wrong_json", json=rows, paths=("/_get_ml",))
    client = remote(server.port)
    for ask in (
        lambda: client.put_ml_bundle_dir(NAME, write(tmp_path / "bundle", {"a.yaml": b"x"})),
        lambda: client.get_ml_bundle_dir(NAME, tmp_path / "back", "all"),
    ):
        with pytest.raises(NotAnAPIError, match="doesn't answer as a Sticky Pi API does"):
            ask()


def test_who_may_not_write_can_fetch(remote, server, bundle, tmp_path):
    remote(server.port).put_ml_bundle_dir(NAME, bundle)
    guest = remote(server.port, username="guest")
    assert len(guest.get_ml_bundle_dir(NAME, tmp_path / "back", "all")) == len(FILES)
    with pytest.raises(AccountError):
        guest.put_ml_bundle_dir("other", bundle)


def test_links_are_asked_for_again_before_they_expire(kind, client, bundle, tmp_path):
    now = [0.0]

    def clock():
        now[0] += 400.0
        return now[0]

    client._bundle_clock = clock
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(client.put_ml_bundle_dir(NAME, bundle)) == len(FILES)
        assert len(client.get_ml_bundle_dir(NAME, tmp_path / "back", "all")) == len(FILES)
    assert set(content(tmp_path / "back")) == set(FILES)
