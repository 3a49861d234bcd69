"""The account's password is nowhere in the local variables that the traceback of an error has."""

import os
import socket
import types

import pytest
from fault_proxy import Fault, Rule
from scripts import says
from sticky_pi_api.client import RemoteClient
from sticky_pi_api.exceptions import AnswerTooLargeError, CertificateError, ImageChangedError, StickyPiError, StoreError
from sticky_pi_api.image_parser import ImageParser
from sticky_pi_api.transport.cancellation import CancelScope, Timeouts
from sticky_pi_api.transport.credentials import Account, Secret

PASSWORD = "pollen"
KEYS = [{"device": "1b74105a", "datetime": "2020-06-20_20-19-15"}]
QUICK = Timeouts(connect=1.0, read=0.4, whole=1.0, again=0.5)
_OPAQUE = (types.ModuleType, types.FunctionType, types.MethodType, type, Secret)


def secrets_of(client):
    """Return all that opens the account, in every form that goes over the wire."""
    token = client._server._login._token
    accounts = [Account.of("trap", PASSWORD), *([] if token is None else [token])]
    headers = [account.header.decode().removeprefix("Basic ") for account in accounts]
    return [PASSWORD, *headers, *(account.user.reveal() for account in accounts[1:])]


def chain_of(trace):
    """Yield a traceback and those that follow it."""
    while trace is not None:
        yield trace
        trace = trace.tb_next


def chained(error):
    """Yield an error, and all that it was raised from, raised during or made of."""
    waiting, seen = [error], set()
    while waiting:
        one = waiting.pop()
        if isinstance(one, BaseException) and id(one) not in seen:
            seen.add(id(one))
            yield one
            waiting += [one.__cause__, one.__context__, *one.args, *vars(one).values()]


def places(error, secrets, ours=__file__):
    """Return where secrets are among the locals of an error's frames, but for those of the tests themselves."""
    return [
        f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno} {name}"
        for one in chained(error)
        for trace in chain_of(one.__traceback__)
        for name, value in trace.tb_frame.f_locals.items()
        if trace.tb_frame.f_code.co_filename != ours and holds(value, secrets)
    ]


def holds(value, secrets, depth=6, seen=None):
    """Return whether a value, or what it is made of, has a secret in it."""
    seen = set() if seen is None else seen
    if depth == 0 or id(value) in seen or isinstance(value, _OPAQUE):
        return False
    seen.add(id(value))
    if isinstance(value, bytes | bytearray):
        value = bytes(value).decode("latin-1")
    if isinstance(value, str):
        return any(secret in value for secret in secrets)
    if isinstance(value, dict):
        inner = [*value, *value.values()]
    elif isinstance(value, list | tuple | set | frozenset):
        inner = list(value)
    else:
        inner = [*getattr(value, "__dict__", {}).values(), repr(value)]
    return any(holds(one, secrets, depth - 1, seen) for one in inner)


def test_the_walk_finds_what_is_there():
    def fail(password):
        nested = {"headers": [("Authorization", f"Basic {password}".encode())]}
        raise ValueError(len(nested))

    def deeper():
        try:
            fail(PASSWORD)
        except ValueError as error:
            raise OSError from error

    with pytest.raises(OSError, match=r"^$") as raised:
        deeper()
    assert {place.rpartition(" ")[2] for place in places(raised.value, [PASSWORD], ours="")} >= {"nested", "password"}
    assert "pollen" not in repr(Account.of("trap", PASSWORD))
    assert not holds({"account": (Account.of("trap", PASSWORD), Secret(PASSWORD))}, [PASSWORD])


FAULTS = {
    "nothing": (),
    "reset": (Fault("reset"),),
    "reset of the answer": (Fault("reset", direction="down"),),
    "silence": (Fault("silence"),),
    "no JSON": (Fault("replace", status=200, body="<html>"),),
    "no HTTP": (Fault("replace", status=200, headers=(("Transfer-Encoding", "chunked"),), body="-5"),),
    "a coding": (Fault("replace", status=200, headers=(("Content-Encoding", "br"),), body="x"),),
    "a damaged coding": (Fault("replace", status=200, headers=(("Content-Encoding", "gzip"),), body="x"),),
    "a 500": (Fault("replace", status=500),),
    "a 503": (Fault("replace", status=503),),
    "a redirection": (Fault("replace", status=302, headers=(("Location", "/x"),)),),
}


@pytest.mark.parametrize("path", ["/get_token", "/get_images", "/_put_new_images"])
@pytest.mark.parametrize("fault", FAULTS)
def test_no_error_of_a_request_has_the_password(server, proxy, remote, make_trap_picture, *, fault, path):
    proxy.set(rules=(Rule(FAULTS[fault], path=path),) if FAULTS[fault] else ())
    client = remote(proxy.port, timeouts=QUICK, username="nobody" if fault == "nothing" else "trap")
    for ask in (
        lambda: client.get_images(KEYS),
        lambda: client._upload(ImageParser(make_trap_picture()), lambda: True, lambda: None, CancelScope()),
    ):
        error = outcome_of(ask)
        assert error is not None or path != "/get_token"
        assert places(error, secrets_of(client)) == []


def outcome_of(ask):
    try:
        ask()
    except Exception as error:  # noqa: BLE001  # all are looked into
        return error
    return None


def test_no_error_of_an_answer_that_is_too_large_has_the_password(remote, answering):
    client = remote(answering(says(b"1" * 2**21))[0])
    with pytest.raises(AnswerTooLargeError) as raised:
        client.get_images(KEYS)
    assert places(raised.value, secrets_of(client)) == []


def test_no_error_of_what_is_sent_has_the_password_in_the_libraries_frames(server, remote, make_trap_picture):
    client = remote(server.port)
    assert client.get_images(KEYS) == []
    path = make_trap_picture()
    image = ImageParser(path)
    os.truncate(path, 1000)
    with pytest.raises(ImageChangedError) as raised:
        client._upload(image, lambda: True, lambda: None, CancelScope())
    frames = [trace.tb_frame for trace in chain_of(raised.value.__traceback__)]
    assert "upload_body.py" in {os.path.basename(frame.f_code.co_filename) for frame in frames}
    assert places(raised.value, secrets_of(client)) == []


@pytest.mark.parametrize("kind", ["refuses", "is silent", "breaks off TLS", "has no name", "speaks no TLS", "a proxy"])
def test_no_error_of_connecting_has_the_password(remote, answering, monkeypatch, kind):
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, socket.create_connection(full.getsockname()):
        port, options = {
            "refuses": lambda: (1, {}),
            "is silent": lambda: (full.getsockname()[1], {}),
            "breaks off TLS": lambda: (answering(lambda _: None)[0], {"protocol": "https"}),
            "has no name": lambda: (80, {"host": "no.invalid"}),
            "speaks no TLS": lambda: (
                answering(lambda to: to.sendall(b"HTTP"))[0],
                {"protocol": "https"},
            ),
            "a proxy": lambda: (443, {"host": "far.invalid", "protocol": "https"}),
        }[kind]()
        if kind == "a proxy":
            proxy, _ = answering(says(b"", "407 Proxy Authentication Required"))
            monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy}")
        client = remote(port, timeouts=QUICK, **options)
        with pytest.raises(StickyPiError) as raised:
            client.get_images(KEYS)
    assert places(raised.value, secrets_of(client)) == []


def test_no_error_of_opening_a_client_has_the_password(tmp_path):
    (tmp_path / "file").touch()
    for error, folder, options in (
        (CertificateError, tmp_path, {"ca_file": str(tmp_path / "none")}),
        (StoreError, tmp_path / "file" / "below", {}),
        (ValueError, tmp_path, {"parallel": 0}),
        (ValueError, tmp_path, {"protocol": "ftp"}),
    ):
        with pytest.raises(error) as raised:
            RemoteClient(folder, "127.0.0.1", "trap", PASSWORD, **options)
        assert places(raised.value, [PASSWORD]) == []


def test_no_error_about_a_proxy_has_the_environment_with_the_password(remote, monkeypatch):
    monkeypatch.setenv("SPI_API_PASSWORD", PASSWORD)
    monkeypatch.setenv("HTTP_PROXY", "http://beekeeper:marmalade@127.0.0.1:x")
    monkeypatch.delenv("NO_PROXY", raising=False)
    client = remote(9)
    with pytest.raises(StickyPiError, match="HTTP_PROXY names no proxy") as raised:
        client.get_images(KEYS)
    assert places(raised.value, [*secrets_of(client), "marmalade"]) == []
