"""The real program removes what a real server has, beside everything else that it does."""

import os
from pathlib import Path

import pytest
from api_server import ApiServer
from program import Program, eventually


@pytest.fixture
def server(tmp_path):
    with ApiServer(tmp_path / "api") as server:
        yield server


@pytest.fixture
def flags(trap, server):
    config = trap.folder / "config.toml"
    config.write_text("[retention]\nkeep_days = 0\n", encoding="ascii")
    kept = ["--image-dir", str(trap.images), "--state-dir", str(trap.state)]
    return [*kept, "--api-url", server.url, "--username", "trap", "--config", str(config)]


@pytest.fixture
def call(trap, flags):
    def call(*arguments, **more):
        return trap.run(*arguments, env={"SPI_API_PASSWORD": "pollen"}, flags=flags, **more)

    return call


def test_a_drain_sends_and_then_removes_what_the_server_has(trap, server, call, make_trap_picture):
    kept = make_trap_picture(trap.images)
    kept.write_bytes(kept.read_bytes()[:-10])
    sent = [make_trap_picture(trap.images / "1b74105a" / "2020-07-05") for _ in range(3)]
    content = {path.name: path.read_bytes() for path in sent}
    assert call("drain").returncode == 0
    assert list(trap.images.rglob("*.jpg")) == [kept]
    assert {Path(name).name: blob for name, blob in server.objects().items()} == content
    assert b"removed from the card" in call("list", "--state", "uploaded").stdout
    assert b"3 removed" in call("audit", "--verify").stdout
    # Nothing of that is news to the next one.
    assert call("drain").returncode == 0
    assert len(server.sent_files()) == 3


def test_a_drain_keeps_what_the_server_lost_and_sends_it_again(trap, server, call, make_trap_picture):
    path = make_trap_picture(trap.images)
    server.set_mode("unauthorised", paths=["/get_images/image"])
    assert call("drain").returncode == 0
    assert path.exists()
    server.reset()
    # Which makes it pending once retention asks, and the next drain sends it.
    call("drain")
    assert path.exists()
    assert call("drain").returncode == 0
    assert not path.exists()
    assert len(server.objects()) == 1


def test_the_service_removes_at_its_start_what_was_sent_before(trap, server, flags, call, make_trap_picture):
    path = make_trap_picture(trap.images)
    assert call("drain", "--config", os.devnull).returncode == 0
    assert path.exists()
    log = trap.folder / "log"
    with Program(*flags, SPI_API_PASSWORD="pollen").service(log):
        eventually(lambda: not path.exists())
    assert f"{path.name}: removed from the card" in log.read_text()
