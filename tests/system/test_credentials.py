"""The account's password on its way from the file that README has made to the service, and to nobody else."""

import re

from containers.trap import CREDENTIAL, ENCRYPTED, EXAMPLES, KEY, NAME, SERVICE
from readme_blocks import of_readme
from sticky_pi_uploader.journal.events import Kind

OWN_FILE = f"/etc/{NAME}/password"
IN_SERVICE = f"/run/credentials/{SERVICE}/api-password"


def of_example(name):
    """Return the lines of commands in an example's comment."""
    comment = (EXAMPLES / name).read_text(encoding="utf-8").partition("\n[")[0]
    return "\n".join(re.findall(r"^#     (.+)$", comment, flags=re.MULTILINE))


def assert_sends(trap):
    name = trap.take_picture()
    trap.wait_for("uploaded", name)


def test_the_password_that_readme_puts_into_the_credential_store_opens_the_server(trap, server, type_in):
    (trap.machine.disk / CREDENTIAL[1:]).unlink()
    assert trap.systemctl("start", SERVICE, check=False).status != 0
    assert trap.messages("password", PRIORITY=3)
    assert "[api] password_file: not set" in trap.show("StatusText")
    type_in(of_readme("/etc/credstore"))
    assert_sends(trap)
    assert trap.machine.run("stat", "--format=%U %a", CREDENTIAL).out == "root 600\n"
    checked = type_in(of_readme("sudo sticky-pi-uploader check"))
    assert checked.out.startswith("All is well")
    assert f"{server.url} answers, and accepts the account" in checked.out


def test_a_password_is_read_again_when_its_file_changes_and_one_that_systemd_keeps_at_a_restart(trap, server):
    refused = f"{server.url} doesn't accept the account"
    trap.write(CREDENTIAL, "wrong\n", 0o600)
    trap.start()
    name = trap.take_picture()
    trap.wait_until(lambda: refused in trap.command("status").out, "say that the password is wrong")
    assert "`sudo systemctl restart sticky-pi-uploader`" in trap.command("status").out
    trap.write(CREDENTIAL, "pollen\n", 0o600)
    trap.systemctl("reload", SERVICE)
    trap.wait_for_message("a password in /etc/credstore is read again at a restart", MESSAGE_ID=Kind.RELOADED.value)
    assert trap.states() == {name: "pending"}
    trap.systemctl("restart", SERVICE)
    trap.wait_for("uploaded", name)
    (trap.machine.disk / CREDENTIAL[1:]).unlink()
    trap.write(OWN_FILE, "wrong\n", 0o600)
    trap.machine.run("chown", NAME, OWN_FILE)
    trap.configure(server.url, username="trap", password_file=OWN_FILE)
    trap.systemctl("restart", SERVICE)
    name = trap.take_picture()
    trap.wait_until(lambda: refused in trap.command("status").out, "say that the password is wrong")
    assert "is read again within a minute" in trap.command("status").out
    trap.write(OWN_FILE, "pollen\n", 0o600)
    trap.wait_for("uploaded", name)
    (trap.machine.disk / OWN_FILE[1:]).unlink()


def test_nobody_but_the_service_sees_the_password(trap, server):
    trap.start()
    assert_sends(trap)
    as_somebody = ("setpriv", "--reuid=daemon", "--regid=daemon", "--clear-groups")
    for path in (CREDENTIAL, IN_SERVICE):
        assert trap.machine.run("cat", path).out.rstrip() == "pollen"
        assert trap.machine.run(*as_somebody, "cat", path, check=False).status != 0
    for shown in ("environ", "cmdline"):
        assert "pollen" not in trap.machine.run("cat", f"/proc/{trap.pid}/{shown}").out
    assert "pollen" not in trap.machine.run("journalctl", "--boot", "--output=verbose", "--no-pager").out
    assert "pollen" not in trap.systemctl("show", SERVICE).out


def test_an_encrypted_password_opens_the_server_and_is_of_no_use_without_the_machines_key(trap, server, type_in):
    (trap.machine.disk / CREDENTIAL[1:]).unlink()
    type_in(of_example("encrypted-password.conf"))
    trap.drop_in_example("encrypted-password.conf")
    assert b"pollen" not in (trap.machine.disk / ENCRYPTED[1:]).read_bytes()
    trap.start()
    assert_sends(trap)
    trap.machine.run("rm", KEY)
    trap.machine.run("systemd-creds", "setup")
    assert trap.systemctl("restart", SERVICE, check=False).status != 0
    assert trap.show("ExecMainStatus") == "243"
