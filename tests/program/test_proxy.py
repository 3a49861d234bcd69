"""Sends pictures through a proxy that lets TLS through by CONNECT: the real program, and the client alone."""

import json
import os
import threading
import time
from contextlib import closing

import pytest
from api_server import ApiServer
from certificates import Authority
from connect_proxy import ConnectProxy
from fault_proxy import Fault, FaultProxy, Rule
from program import PATIENCE, Program
from sticky_pi_api.client import RemoteClient
from sticky_pi_api.exceptions import BrokenOffError, DoubtfulError, UnreachableError
from sticky_pi_api.remote.api import RemoteAPI
from sticky_pi_api.transport.cancellation import Timeouts
from sticky_pi_api.transport.proxies import proxy_for
from sticky_pi_api.types import Outcome

ACCOUNT = "beekeeper:hon ey@hive"
"""The proxy's"""
IN_ADDRESS = "beekeeper:hon%20ey%40hive"
WRONG = "beekeeper:marmalade"
PASSWORDS = ("hon%20ey%40hive", "hon ey@hive", "marmalade", "pollen")


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def server(tmp_path):
    with ApiServer(tmp_path / "api") as server:
        yield server


@pytest.fixture
def front(server, authority):
    """What speaks TLS before the server."""
    with FaultProxy(server.port, certificate=authority.certificate()) as front:
        yield front


@pytest.fixture
def sticky(tmp_path, front, authority, make_trap_picture):
    """Run a command of a trap with one picture, in an environment with a proxy; returns what it said, all in one."""
    images = tmp_path / "pictures"
    images.mkdir()
    make_trap_picture(images)
    config = tmp_path / "config.toml"
    config.write_text(
        f"image_dir = '{images}'\nstate_dir = '{tmp_path / 'state'}'\n"
        f"[api]\nurl = '{front.url}'\nusername = 'trap'\nca_file = '{authority.ca_file}'\n"
    )

    program = Program("--config", config, SPI_API_PASSWORD="pollen")

    def run(*arguments, status=0, **variables):
        done = program.run(*arguments, variables=variables)
        said = done.stdout + done.stderr
        assert done.returncode == status, said
        assert not any(password in said for password in PASSWORDS)
        return said

    return run


@pytest.fixture
def client(tmp_path, front, authority, monkeypatch):
    """Open clients that go through a proxy."""
    opened = []

    def open_client(proxy, **timeouts):
        monkeypatch.setenv("HTTPS_PROXY", proxy)
        where = {"host": "localhost", "port": front.port, "ca_file": authority.ca_file}
        times = Timeouts(**timeouts) if timeouts else None
        opened.append(RemoteClient(tmp_path / "client", username="trap", password="pollen", timeouts=times, **where))
        return opened[-1]

    yield open_client
    for one in opened:
        one.close()


def put(client, file):
    outcomes = []
    client.put_images([str(file)], on_outcome=outcomes.append)
    return outcomes[0]


@pytest.mark.parametrize(("account", "in_address"), [(None, ""), (ACCOUNT, IN_ADDRESS)])
def test_pictures_go_through_the_environments_proxy_with_its_account(sticky, server, front, account, in_address):
    with ConnectProxy(account=account) as proxy:
        assert "accepts the account" in sticky("check", HTTPS_PROXY=proxy.url(in_address))
        sticky("drain", HTTPS_PROXY=proxy.url(in_address))
        requests = proxy.requests()
    assert len(server.rows()) == 1
    assert {(one.target, one.account, one.status) for one in requests} == {(f"localhost:{front.port}", account, 200)}


@pytest.mark.parametrize("exceptions", ["localhost", "far.example,localhost", "*", "localhost:{port}"])
def test_what_no_proxy_names_is_spoken_to_directly(sticky, server, front, exceptions):
    with ConnectProxy() as proxy:
        sticky("drain", HTTPS_PROXY=proxy.url(), NO_PROXY=exceptions.format(port=front.port))
        assert proxy.requests() == []
    assert len(server.rows()) == 1


@pytest.mark.parametrize("settings", [{"account": ACCOUNT}, {"refuses": 403}, {"refuses": 502}])
def test_a_proxy_that_refuses_is_the_destinations_trouble_and_no_pictures(sticky, server, settings):
    with ConnectProxy(**settings) as proxy:
        address = proxy.url(WRONG)
        said = sticky("drain", "--deadline", "4", status=os.EX_TEMPFAIL, HTTPS_PROXY=address)
        assert "the proxy on the way doesn't let it pass" in sticky("check", status=1, HTTPS_PROXY=address)
    assert "the destination is unreachable" in said
    assert "the proxy on the way doesn't let it pass" in said
    (picture,) = json.loads(sticky("list", "--json"))
    assert (picture["state"], picture["attempts"]) == ("pending", 0)
    assert json.loads(sticky("status", "--json"))["destination"]["state"] == "unreachable"
    sticky("explain", picture["path"])
    assert server.requests() == []
    sticky("drain")
    assert len(server.rows()) == 1


@pytest.mark.parametrize(("port", "target"), [({}, "trap.example:443"), ({"port": 444}, "trap.example:444")])
def test_a_server_is_asked_at_the_port_of_https_where_no_other_is_named(tmp_path, monkeypatch, port, target):
    with ConnectProxy(refuses=403) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url())
        whole = RemoteClient(tmp_path / "client", "trap.example", "trap", "pollen", **port)
        for client in (whole, RemoteAPI("trap.example", "trap", "pollen", **port)):
            with closing(client), pytest.raises(UnreachableError):
                client.get_users()
        assert {request.target for request in proxy.requests()} == {target}


def test_a_proxy_that_never_answers_costs_no_more_than_the_deadline(client, make_trap_picture):
    with ConnectProxy(is_mute=True) as proxy:
        outcome = put(client(proxy.url(IN_ADDRESS), connect=0.5, read=0.5, whole=1.0), make_trap_picture())
    assert outcome.outcome is Outcome.UNSENT
    assert isinstance(outcome.error, UnreachableError)
    assert not any(password in str(outcome.error) for password in PASSWORDS)


def test_a_server_that_drips_costs_no_more_than_the_deadline_through_a_proxy(client, front, server, make_trap_picture):
    front.set(rules=(Rule((Fault("drip", "down", at=10, seconds=0.3),), path="/_put_new_images"),))
    with ConnectProxy() as proxy:
        begun = time.monotonic()
        outcome = put(client(proxy.url(), connect=5.0, read=5.0, whole=2.0), make_trap_picture())
    assert outcome.outcome is Outcome.STORED  # as the server says when it is asked
    assert time.monotonic() - begun < PATIENCE
    assert len(server.rows()) == 1


def test_closing_breaks_off_an_upload_in_a_tunnel(client, front, make_trap_picture):
    front.set(rules=(Rule((Fault("silence"),), path="/_put_new_images"),))
    outcomes = []
    with ConnectProxy() as proxy:
        one = client(proxy.url())
        thread = threading.Thread(target=lambda: outcomes.append(put(one, make_trap_picture())))
        thread.start()
        deadline = time.monotonic() + PATIENCE
        while not (is_silent := front.counts().get("fault_silence")) and time.monotonic() < deadline:
            time.sleep(0.02)
        one.close()
        thread.join(PATIENCE)
    assert is_silent
    error = outcomes[0].error
    assert isinstance(error.end if isinstance(error, DoubtfulError) else error, BrokenOffError)


WRONG_PROXIES = [
    "'http://127.0.0.1:3128'",
    '"http://beekeeper:marmalade@127.0.0.1:3128"',
    "http://127.0.0.1:3128 ",
    " http://127.0.0.1:3128",
    "http://beekeeper:marmalade @127.0.0.1:3128",
    "http://127.0.0.1: 3128",
    "http://127.0.0.1:99999",
    "http://127.0.0.1:port",
    "htp://127.0.0.1:3128",
    "ftp://127.0.0.1:3128",
    "http//127.0.0.1:3128",
    "http://",
    "http://[::1",
    "beekeeper:marmalade://x@127.0.0.1:3128",
    "socks5h://beekeeper:marmalade@127.0.0.1:3128",
]


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
@pytest.mark.parametrize("value", WRONG_PROXIES[:3])
def test_a_variable_that_names_no_proxy_is_named_with_its_value(sticky, server, variable, value):
    shown = value.replace("beekeeper:marmalade", "********")
    for command, status in ((("drain", "--deadline", "4"), os.EX_TEMPFAIL), (("check",), 1)):
        said = sticky(*command, status=status, **{variable: value})
        assert f"{variable} names no proxy that can be used: {shown!r}: expected http://host:port" in said
    assert server.requests() == []


@pytest.mark.parametrize("value", WRONG_PROXIES)
def test_what_can_be_no_proxy_is_said_without_the_password_in_it(value):
    found = proxy_for("https://trap.example", {"HTTPS_PROXY": value})
    assert found.problem.startswith("HTTPS_PROXY names no proxy that can be used")
    assert "marmalade" not in repr(tuple(found))


@pytest.mark.parametrize(
    ("environ", "shown"),
    [
        ({"HTTPS_PROXY": "http://proxy:3128"}, "http://proxy:3128 (HTTPS_PROXY)"),
        ({"HTTPS_PROXY": "proxy.example.org:3128"}, "proxy.example.org:3128 (HTTPS_PROXY)"),
        ({"HTTPS_PROXY": "https://a%40b:c%2Fd@[fe80::1]:3128/"}, "https://********@[fe80::1]:3128/ (HTTPS_PROXY)"),
        ({"HTTPS_PROXY": "beekeeper:marm@lade@proxy"}, "********@proxy (HTTPS_PROXY)"),
        ({"HTTPS_PROXY": "http://capitals", "https_proxy": "http://small"}, "http://small (https_proxy)"),
        ({"HTTPS_PROXY": "http://capitals", "https_proxy": ""}, "None"),
        ({"ALL_PROXY": "http://proxy"}, "http://proxy (ALL_PROXY)"),
        ({"HTTP_PROXY": "http://proxy"}, "None"),
        ({}, "None"),
    ],
)
def test_the_proxy_in_force_is_the_one_that_curl_would_take(environ, shown):
    assert str(proxy_for("https://trap.example", environ)) == shown


@pytest.mark.parametrize(
    ("url", "no_proxy", "is_direct"),
    [
        ("https://trap.example", "trap.example:443", True),
        ("https://trap.example:8443", "trap.example:8443", True),
        ("https://trap.example:8443", "trap.example", True),
        ("https://trap.example:8443", "trap.example:443", False),
        ("https://a.trap.example", ".trap.example:443", True),
        ("https://a.trap.example", "trap.example", True),
        ("https://a.trap.example", "*.trap.example", True),
        ("https://atrap.example", "trap.example", False),
        ("https://TRAP.example", "far.example , Trap.Example", True),
        ("https://10.1.2.3:8443", "10.1.2.3:8443", True),
        ("https://10.1.2.3:8443", "10.1.2.3:443", False),
        ("https://10.1.2.3", "10.0.0.0/8", True),
        ("https://11.1.2.3", "10.0.0.0/8", False),
        ("https://[fe80::1]:8443", "[fe80::1]:8443", True),
        ("https://[fe80::1]:8443", "fe80::1", True),
        ("https://[fe80::1]:8443", "fe80::/10", True),
        ("https://trap.example", "*", True),
        ("https://trap.example", "", False),
        ("https://trap.example", ", ,", False),
        ("https://trap.example", "trap.example:", False),
        ("https://trap.example", "trap.example.", True),
        ("https://trap.example.", "trap.example", True),
        ("https://trap.example", f"trap.example:{'4' * 5000}", False),
    ],
)
@pytest.mark.parametrize("variable", ["NO_PROXY", "no_proxy"])
def test_no_proxy_is_understood_with_ports(url, no_proxy, is_direct, variable):
    found = proxy_for(url, {"HTTPS_PROXY": "http://proxy", variable: no_proxy})
    assert (found is None) is is_direct


def test_check_shows_the_proxy_in_force_without_its_password(sticky, front):
    def proxy(**environment):
        said = json.loads(sticky("check", "--json", status=environment.pop("status"), **environment))
        return [(each["level"], each["what"]) for each in said if each["about"] == "proxy"]

    with ConnectProxy(account=ACCOUNT) as running:
        address = running.url(IN_ADDRESS)
        shown = running.url("********")
        assert proxy(status=0, HTTPS_PROXY=address) == [("ok", f"{shown} (HTTPS_PROXY)")]
        direct = proxy(status=0, HTTPS_PROXY=address, NO_PROXY="localhost:1, localhost")
        assert direct == [("ok", f"none for {front.url}, as NO_PROXY has localhost")]
    assert proxy(status=0) == []
    [(level, what)] = proxy(status=1, HTTPS_PROXY="'http://proxy'")
    assert (level, "HTTPS_PROXY names no proxy" in what) == ("problem", True)


def test_a_proxy_that_is_not_there_is_named_and_not_taken_for_the_server(sticky, front):
    said = sticky("check", status=1, HTTPS_PROXY="http://beekeeper:marmalade@proxy.invalid:3128")
    assert f"{front.url} can't be reached through the proxy http://********@proxy.invalid:3128 (HTTPS_PROXY): " in said
