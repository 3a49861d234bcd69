import logging

import pytest
from sticky_pi_uploader.clock import Heartbeat
from sticky_pi_uploader.models import TO_LOOK_AT, Destination, DestinationState, State
from sticky_pi_uploader.service.liveness import Health
from sticky_pi_uploader.service.supervisor import status_line

HERE = "https://example.org"


def test_a_heart_is_silent_from_its_last_beat_until_it_rests():
    now = [100.0]
    heartbeat = Heartbeat(monotonic=lambda: now[0])
    assert heartbeat.silence() == 0
    heartbeat.beat()
    now[0] += 7
    assert heartbeat.silence() == 7
    heartbeat.beat()
    assert heartbeat.silence() == 0
    now[0] += 3
    heartbeat.rest()
    assert heartbeat.silence() == 0


def test_what_is_silent_up_to_its_limit_is_well():
    health = Health()
    assert health.is_well()
    health.add("the intake hangs", lambda: 5.0, 5.0)
    assert health.is_well()
    assert health.problem is None


def test_what_hangs_is_said_once_and_is_never_well_again(caplog):
    silence = [6.0]
    health = Health()
    health.add("the uploader hangs", lambda: 0.0, 5.0)
    health.add("the intake hangs", lambda: silence[0], 5.0)
    assert [health.is_well() for _ in range(3)] == [False] * 3
    silence[0] = 0.0
    assert not health.is_well()
    assert health.problem == "the intake hangs for 6 s"
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.CRITICAL, "the intake hangs for 6 s: the service has to be started anew")
    ]


@pytest.mark.parametrize(
    ("counts", "destination", "problem", "expected"),
    [
        ({}, Destination(HERE), None, "no pictures waiting; https://example.org hasn't taken a picture yet"),
        (
            {State.PENDING: 1, State.UPLOADED: 7},
            Destination(HERE, DestinationState.OK),
            None,
            "1 picture waiting; https://example.org takes pictures",
        ),
        (
            {State.PENDING: 10, State.UPLOADING: 2, State.LOST: 1, State.REJECTED: 2},
            Destination(HERE, DestinationState.UNREACHABLE, "no route", 1_600_000_000.0, 2),
            None,
            "12 pictures waiting; 3 to be looked at; https://example.org is unreachable, tried again at 12:26 UTC",
        ),
        (
            {},
            Destination(HERE, DestinationState.OK),
            "no space left",
            "no space left; no pictures waiting; https://example.org takes pictures",
        ),
    ],
)
def test_how_things_stand_is_one_line(counts, destination, problem, expected):
    to_look_at = sum(counts.get(state, 0) for state in TO_LOOK_AT)
    assert status_line(dict.fromkeys(State, 0) | counts, to_look_at, destination, problem) == expected


def test_every_state_of_a_destination_can_be_told():
    told = {status_line(dict.fromkeys(State, 0), 0, Destination(HERE, state)) for state in DestinationState}
    assert len(told) == len(DestinationState)
