"""The service from start to stop: what it tells systemd, what it sends, how it takes another configuration."""

import json

from containers.trap import CONFIGURATION, IMAGES, NAME, SERVICE, STATE, STORE
from sticky_pi_uploader.journal.events import Kind

SLOW = {"max_rate": "5 kB"}
"""Of an upload that takes longer than any test looks at it"""

LARGE = (640, 480)


def test_it_is_ready_when_its_start_returns_and_sends_what_is_there_and_what_arrives(trap, server):
    first = trap.take_picture()
    trap.start()
    assert trap.show("Type", "ActiveState", "SubState") == ("notify", "active", "running")
    pictures = [first, *(trap.take_picture() for _ in range(3))]
    trap.wait_for("uploaded", *pictures)
    assert {name.rpartition("/")[2]: blob for name, blob in server.objects().items()} == {
        name: trap.on_the_card(name).read_bytes() for name in pictures
    }
    status = f"no pictures waiting; {server.url} takes pictures"
    trap.wait_until(lambda: trap.show("StatusText") == status, f"say {status!r}")
    assert f'Status: "{status}"' in trap.systemctl("status", SERVICE).out


def test_it_sends_to_a_store_without_a_server_and_the_pictures_stay_roots(trap):
    trap.configure()
    trap.start()
    name = trap.take_picture()
    trap.wait_for("uploaded", name)
    (stored,) = trap.on_the_card(".sticky-pi-uploader/store").rglob(name)
    assert stored.read_bytes() == trap.on_the_card(name).read_bytes()
    paths = [IMAGES, f"{IMAGES}/{name}", STATE, f"{STATE}/outbox.db"]
    owners = trap.machine.run("stat", "--format=%U", *paths).out.split()
    assert owners == ["root", "root", "sticky-pi-uploader", "sticky-pi-uploader"]


def test_a_reload_puts_another_configuration_in_force_without_a_new_start(trap, server):
    trap.start()
    first, pid = trap.take_picture(), trap.pid
    trap.wait_for("uploaded", first)
    trap.configure()
    trap.systemctl("reload", SERVICE)
    trap.wait_until(lambda: STORE in trap.show("StatusText"), "name the other destination")
    second = trap.take_picture()
    trap.wait_for("uploaded", first, second)
    assert {path.name for path in trap.on_the_card(".sticky-pi-uploader/store").rglob("*.jpg")} >= {first, second}
    assert [file.name for file in server.sent_files()] == [first]
    assert (trap.pid, trap.show("ActiveState")) == (pid, "active")


def test_a_broken_configuration_is_refused_with_all_its_errors_and_the_old_one_stays(trap, server):
    trap.start()
    pid = trap.pid
    whole = (trap.machine.disk / CONFIGURATION[1:]).read_text(encoding="utf-8")
    trap.write(CONFIGURATION, f"scan_intervall = 10\n{whole}parallel = 'many'\n")
    assert trap.systemctl("reload", SERVICE, check=False).status != 0
    trap.wait_for_message("the configuration was not reloaded: the one from before stays in force")
    failed = trap.messages(MESSAGE_ID=Kind.RELOAD_FAILED.value)
    assert {record["PRIORITY"] for record in failed} == {"3"}
    said = "\n".join(record["MESSAGE"] for record in failed)
    assert "did you mean scan_interval?" in said
    assert "[api] parallel" in said
    refused = "the last reload was refused, so the configuration from before stays in force"
    trap.wait_until(lambda: trap.show("StatusText").startswith(refused), "say so in its status")
    for command in ("status", "check"):
        shown = trap.command(command, check=False)
        assert refused in shown.out + shown.err
    trap.take_picture()
    trap.wait_until(server.objects, "send a picture")
    assert (trap.pid, trap.show("ActiveState")) == (pid, "active")
    trap.write(CONFIGURATION, whole)
    trap.systemctl("reload", SERVICE)
    trap.wait_for_message("the configuration was reloaded: nothing has changed")
    trap.wait_until(lambda: refused not in trap.show("StatusText"), "forget that")
    assert refused not in trap.command("status").out


def test_a_folder_that_the_service_may_not_read_is_shown_by_its_status_to_everybody(trap):
    trap.configure()
    trap.machine.run("mkdir", "--mode=700", f"{IMAGES}/secret")
    trap.start()
    why = f"{IMAGES}/secret can't be read (Permission denied): no picture there is seen"
    trap.wait_until(lambda: trap.show("StatusText").startswith(why), "say so in its status")
    as_somebody = ("setpriv", "--reuid=daemon", "--regid=daemon", "--clear-groups")
    shown = trap.machine.run(*as_somebody, NAME, "status").out
    assert shown.startswith(f"Attention: {why}; no picture to be sent.\n")
    assert why in trap.command("check", check=False).out
    trap.machine.run("rmdir", f"{IMAGES}/secret")
    trap.systemctl("restart", SERVICE)
    trap.wait_until(lambda: trap.show("StatusText").startswith("no pictures waiting"), "forget that")
    assert trap.command("status").out.startswith("Nothing yet")


def test_pictures_and_folders_are_noticed_when_the_service_gets_the_right_to_read_them(trap):
    trap.configure()
    closed, below = trap.take_picture(), trap.take_picture()
    trap.machine.run("chmod", "600", f"{IMAGES}/{closed}")
    trap.machine.run("mkdir", "--mode=700", f"{IMAGES}/secret")
    trap.machine.run("mv", f"{IMAGES}/{below}", f"{IMAGES}/secret")
    trap.start()
    trap.wait_for("rejected", closed)
    trap.wait_until(lambda: "secret can't be read" in trap.show("StatusText"), "say what it can't read")
    trap.machine.run("chmod", "644", f"{IMAGES}/{closed}")
    trap.machine.run("chmod", "755", f"{IMAGES}/secret")
    trap.wait_for("uploaded", closed, below)
    trap.wait_until(lambda: trap.show("StatusText").startswith("no pictures waiting"), "forget that")


def test_trouble_is_shown_until_the_next_start_and_not_after_a_stop(trap):
    trap.configure()
    trap.machine.run("mkdir", "--mode=700", f"{IMAGES}/secret")
    trap.start()
    shown = lambda: json.loads(trap.command("status", "--json").out)["trouble"]  # noqa: E731
    trap.wait_until(shown, "show its trouble")
    trap.systemctl("kill", "--signal=KILL", SERVICE)
    trap.wait_until(lambda: trap.show("SubState") == "auto-restart", "wait for the next start")
    assert len(shown()) == 1
    trap.systemctl("stop", SERVICE)
    assert shown() == []
    checked = json.loads(trap.command("check", "--json", check=False).out)
    assert "service" not in [each["about"] for each in checked]


def test_a_stop_during_an_upload_breaks_it_off_and_the_next_start_sends_it_once(trap, server):
    trap.use_server(server, **SLOW)
    trap.start()
    name = trap.take_picture(size=LARGE)
    trap.wait_for("uploading", name)
    trap.systemctl("stop", SERVICE)
    assert trap.show("Result", "ExecMainStatus", "NRestarts") == ("success", "0", "0")
    assert trap.messages("stopped")
    assert trap.states() == {name: "pending"}
    assert server.objects() == {}
    trap.use_server(server)
    trap.start()
    trap.wait_for("uploaded", name)
    assert list(server.objects().values()) == [trap.on_the_card(name).read_bytes()]
