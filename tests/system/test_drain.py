"""The rounds of a trap that wakes for a minute: by its timer, by hand, and while it shuts down."""

import os

from containers.trap import DRAIN, IMAGES, SERVICE, TIMER


def names(server):
    return {os.path.basename(name) for name in server.objects()}


def test_a_round_by_hand_returns_when_all_is_sent_and_the_card_can_be_unmounted(trap, server):
    pictures = {trap.take_picture() for _ in range(5)}
    trap.systemctl("start", DRAIN)
    assert names(server) == pictures
    assert trap.show("Result", unit=DRAIN) == "success"
    trap.machine.run("umount", IMAGES)
    assert trap.below_the_card() == []


def test_a_round_that_leaves_something_is_no_failure(trap, server):
    server.stop()
    trap.drop_in("[Service]\nExecStart=\nExecStart=sticky-pi-uploader drain --deadline 3\n", DRAIN)
    name = trap.take_picture()
    trap.systemctl("start", DRAIN)
    assert trap.show("ActiveState", "Result", unit=DRAIN) == ("inactive", "success")
    assert trap.states() == {name: "pending"}
    server.start()


def test_the_timer_has_one_round_after_the_other(trap, server):
    trap.drop_in("[Timer]\nOnBootSec=\nOnActiveSec=1\nOnUnitInactiveSec=1\n", TIMER)
    first = trap.take_picture()
    trap.systemctl("start", TIMER)
    trap.wait_until(lambda: names(server) == {first}, "send the first picture")
    second = trap.take_picture()
    trap.wait_until(lambda: names(server) == {first, second}, "send the second picture")
    assert trap.show("ActiveState") == "inactive"


def test_a_round_takes_the_services_place(trap, server):
    trap.start()
    name = trap.take_picture()
    trap.systemctl("start", DRAIN)
    assert names(server) == {name}
    assert trap.show("ActiveState", "Result") == ("inactive", "success")


def test_an_orderly_shutdown_waits_for_the_round_with_the_card_still_mounted(own_trap, start_server):
    machine = own_trap.machine
    own_trap.mount_card_at_boot()
    machine.boot()
    server = start_server(machine)
    own_trap.use_server(server, max_rate="30 kB")
    own_trap.systemctl("stop", SERVICE)
    own_trap.systemctl("disable", SERVICE)
    pictures = {own_trap.take_picture(size=(640, 480)) for _ in range(3)}
    own_trap.systemctl("start", "--no-block", DRAIN)
    own_trap.wait_until(lambda: "uploading" in own_trap.states().values(), "begin to send")
    assert names(server) != pictures
    machine.poweroff()
    assert names(server) == pictures
    machine.boot()
    assert own_trap.states() == dict.fromkeys(pictures, "uploaded")
    assert own_trap.below_the_card() == []
