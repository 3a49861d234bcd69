"""The table of decisions: an outcome and its evidence on the left, what follows from them on the right."""

import pytest
from sticky_pi_api.exceptions import (
    AccountError,
    BrokenOffError,
    CertificateError,
    ClockNotSetError,
    DamagedImageError,
    DoubtfulError,
    ImageChangedError,
    MetadataError,
    NotAnAPIError,
    RefusedError,
    RequestTooLargeError,
    StoreError,
    TooLargeError,
    UnavailableError,
    UnreachableError,
)
from sticky_pi_api.types import ImageOutcome, Outcome
from sticky_pi_uploader.models import DestinationState, Fingerprint, Picture, State
from sticky_pi_uploader.upload.outcome_policy import (
    DOUBTFUL_WAIT,
    SEVERAL,
    Action,
    Decision,
    Evidence,
    Trouble,
    decide,
    trouble_of,
)

OURS, OTHER = "0" * 31 + "1", "f" * 32
REFUSED = RefusedError("status 500")
BUSY = UnavailableError("status 503", retry_after=600.0)
GONE = BrokenOffError("closed")
DENIED = StoreError("permission denied", whole_store=False)
SENT_OTHERS = f"the destination says that it got other bytes (md5 {OTHER})"
CLASH = "the destination holds another picture with this device and time"
REFUSING, UNREACHABLE, NOT_AN_API, UNAUTHORIZED = (
    DestinationState[name] for name in ("REFUSING", "UNREACHABLE", "NOT_AN_API", "UNAUTHORIZED")
)
PICTURE = Picture(
    *(1, "a.jpg", "1b74105a", "2020-07-05T10:07:16Z", OURS, State.UPLOADING, 0, 0, None, None, None, None),
    *(None, None, None, None, None, None, Fingerprint(1, 1, 1), "disk", None),
)


def decided(outcome, error=None, *, md5=None, evidence=None, give_up_after=5, **picture):
    """Decide on an outcome; without `evidence`, the evidence on the destination must not be asked for."""
    result = ImageOutcome("a.jpg", outcome, None if md5 is None else {"md5": md5}, error)

    def known():
        assert evidence is not None, "the evidence is asked for"
        return evidence

    return decide(result, PICTURE._replace(**picture), known, give_up_after=give_up_after)


# --- stored, held, conflict --------------------------------------------------------------------------------------

CONFLICT = Decision(Action.CONFLICT, f"{CLASH} (md5 {OTHER})", answered=True)
CLASHING = Decision(
    Action.PUT_OFF,
    trouble=Trouble(REFUSING, f"it says that it holds another picture in the place of each of the last (md5 {OTHER})"),
)
CHANGED_ON_THE_WAY = Decision(
    Action.PUT_OFF, trouble=Trouble(REFUSING, f"it says that it holds other bytes than it was sent (md5 {OTHER})")
)


@pytest.mark.parametrize("outcome", [Outcome.STORED, Outcome.HELD])
def test_only_a_receipt_of_the_pictures_own_bytes_confirms_it(outcome):
    assert decided(outcome, md5=OURS) == decided(outcome, md5=OURS.upper()) == Decision(Action.CONFIRM)
    for md5 in (OTHER, OURS[:-1], OURS + "0", "", None):
        assert decided(outcome, md5=md5, evidence=Evidence()).action is not Action.CONFIRM


@pytest.mark.parametrize(
    ("conflicts", "accepted", "picture", "decision"),
    [
        (0, 0, {}, CONFLICT),
        (SEVERAL - 2, 9, {"failed_since": 9}, CONFLICT),
        # Several different pictures in a row: unless this one failed before, and the destination took another since.
        (SEVERAL - 1, 9, {}, CLASHING),
        (SEVERAL - 1, 9, {"failed_since": 9}, CLASHING),
        (SEVERAL - 1, 9, {"failed_since": 8}, CONFLICT),
        # The other bytes come from our own upload.
        (0, 9, {"got_md5": OTHER}, CHANGED_ON_THE_WAY),
        (0, 9, {"got_md5": OTHER, "failed_since": 9}, CHANGED_ON_THE_WAY),
        (0, 9, {"got_md5": OTHER, "failed_since": 8}, CONFLICT),
    ],
)
@pytest.mark.parametrize("outcome", [Outcome.CONFLICT, Outcome.HELD])
def test_another_picture_under_the_key_is_a_conflict_unless_the_destination_clashes_with_all(
    outcome, conflicts, accepted, picture, decision
):
    evidence = Evidence(accepted, conflicts=conflicts, others_refused=9, refuses_all=True)
    assert decided(outcome, md5=OTHER, evidence=evidence, **picture) == decision


@pytest.mark.parametrize("md5", [None, "", "\ud800", "\x1b[2J\n", "x" * 100_000])
def test_whatever_a_destination_gives_as_md5_the_reason_is_printable_and_short(md5):
    decision = decided(Outcome.CONFLICT, md5=md5, evidence=Evidence())
    assert decision.action is Action.CONFLICT
    assert decision.why.isprintable()
    assert len(decision.why) < 200
    assert ("(md5 unknown)" in decision.why) == (not md5)


# --- refused -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [TooLargeError, DamagedImageError, MetadataError])
def test_a_refusal_known_to_be_the_pictures_fault_rejects_it_at_once(kind):
    decision = Decision(Action.REJECT, "over 100 MB", charge=1, answered=True)
    assert decided(Outcome.REFUSED, kind("a.jpg", "over 100 MB")) == decision


ALONE, AS_OTHERS = Action.REFUSE, Action.HOLD
NOT, ONE, TWO = 0, 1, 2


@pytest.mark.parametrize(
    ("evidence", "picture", "action", "charge"),
    [
        # At first it is nobody's fault, and only this picture waits.
        (Evidence(9), {}, ALONE, NOT),
        (Evidence(9, others_refused=SEVERAL - 2), {}, ALONE, NOT),
        # Several different pictures and none taken, or a destination that is known to refuse everything.
        (Evidence(9, others_refused=SEVERAL - 1), {}, AS_OTHERS, NOT),
        (Evidence(9, refuses_all=True), {"refused_after": 9}, AS_OTHERS, NOT),
        # None was taken since it was refused before: however often, and however few refusals are allowed.
        (Evidence(9), {"refused_after": 9, "misses": 20}, ALONE, NOT),
        (Evidence(0), {"refused_after": 0, "attempts": 4}, ALONE, NOT),
        (Evidence(9), {"refused_after": 9, "attempts": 99}, ALONE, NOT),
        # Another one was taken since: this refusal and the first one are the picture's fault, whatever befalls others.
        (Evidence(9), {"refused_after": 8}, ALONE, TWO),
        (Evidence(9, others_refused=99, refuses_all=True), {"refused_after": 8}, ALONE, TWO),
        (Evidence(9), {"refused_after": 0, "attempts": 2}, ALONE, ONE),
        (Evidence(9), {"refused_after": 0, "attempts": 3}, ALONE, ONE),
        (Evidence(9), {"refused_after": 0, "attempts": 4}, Action.REJECT, ONE),
        (Evidence(9), {"refused_after": 8, "attempts": 99}, Action.REJECT, ONE),
    ],
)
@pytest.mark.parametrize("retry_after", [None, 700.0])
def test_a_refusal_without_a_reason_is_charged_only_if_another_was_taken_since_the_last(
    evidence, picture, action, charge, retry_after
):
    error = RefusedError("status 500", retry_after=retry_after)
    decision = Decision(action, "status 500", charge)
    if action is Action.REFUSE:
        decision = decision._replace(retry_after=retry_after, answered=True)
    elif action is Action.HOLD:
        decision = decision._replace(trouble=Trouble(REFUSING, "status 500", retry_after))
    assert decided(Outcome.REFUSED, error, evidence=evidence, **picture) == decision


@pytest.mark.parametrize("give_up_after", [1, 2, 3])
def test_no_limit_is_so_low_that_a_picture_is_rejected_without_evidence(give_up_after):
    more = {"refused_after": 5, "give_up_after": give_up_after}
    assert decided(Outcome.REFUSED, REFUSED, evidence=Evidence(5), **more).action is Action.REFUSE
    rejected = decided(Outcome.REFUSED, REFUSED, evidence=Evidence(6), **more).action is Action.REJECT
    assert rejected == (give_up_after < 3)


@pytest.mark.parametrize("refused_after", [None, 8, 9])
def test_a_place_in_the_store_that_one_picture_cannot_have_counts_as_a_refusal(refused_after):
    unsent, refused = (
        decided(outcome, DENIED, evidence=Evidence(9), refused_after=refused_after)
        for outcome in (Outcome.UNSENT, Outcome.REFUSED)
    )
    assert unsent == refused
    assert (unsent.action, unsent.why) == (Action.REFUSE, "permission denied")


# --- unsent, doubtful --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "state", "blames_destination", "answered"),
    [
        # Nobody answered, or a login page of the network: that may be over in the next network.
        (UnreachableError("no route"), UNREACHABLE, False, False),
        (CertificateError("another's certificate: a login page's"), UNREACHABLE, False, False),
        (ClockNotSetError("the trap's clock is not set"), UNREACHABLE, False, False),
        (NotAnAPIError("answers with HTML"), NOT_AN_API, True, False),
        # It answered itself, or somebody asked for a pause.
        (UnreachableError("the proxy wants a password", retry_after=600.0), UNREACHABLE, True, True),
        (NotAnAPIError("the network wants a login first", retry_after=600.0), NOT_AN_API, True, True),
        (AccountError("the account 'x' isn't accepted"), UNAUTHORIZED, True, True),
        (BUSY, UNREACHABLE, True, True),
        (UnavailableError("status 502"), UNREACHABLE, False, True),
        (RefusedError("status 500 to the question"), UNREACHABLE, False, True),
        (StoreError("the disk is full"), UNREACHABLE, False, True),
    ],
)
def test_the_error_says_what_is_wrong_with_the_destination(error, state, blames_destination, answered):
    trouble = Trouble(state, str(error), error.retry_after, blames_destination, answered)
    assert decided(Outcome.UNSENT, error) == Decision(Action.PUT_OFF, trouble=trouble)
    doubt = decided(Outcome.DOUBTFUL, DoubtfulError("it broke off", error, retry_after=27.5))
    assert doubt == Decision(
        Action.POSTPONE, "it broke off", min_wait=27.5, trouble=trouble._replace(why="it broke off")
    )
    assert trouble_of(error, blames_destination=True) == trouble._replace(blames_destination=True)


@pytest.mark.parametrize(("md5", "why"), [(OTHER, SENT_OTHERS), (None, "no reason was given")])
def test_a_receipt_that_is_not_of_these_bytes_is_doubted(md5, why):
    decision = decided(Outcome.STORED, md5=md5)
    assert decision[:4] == (Action.POSTPONE, why, 0, DOUBTFUL_WAIT)
    assert (decision.trouble.state, decision.trouble.why) == (UNREACHABLE, why)
    assert decision.got_md5 == md5


def test_a_request_too_large_concerns_only_pictures_from_its_size_on():
    error = RequestTooLargeError("the web server in front of the API accepts no request of 1 kB", 1000)
    trouble = Trouble(REFUSING, str(error), by_size=True)
    assert decided(Outcome.UNSENT, error) == Decision(Action.PUT_OFF, str(error), trouble=trouble)


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (ImageChangedError("a.jpg", "its bytes are others"), "its bytes are others"),
        (OSError(5, "Input/output error"), "can't be read: Input/output error"),
        (OSError("odd"), "odd"),
    ],
)
def test_a_file_that_is_not_what_it_was_is_read_again(error, why):
    assert decided(Outcome.UNSENT, error) == Decision(Action.READ_AGAIN, why)


def test_an_upload_broken_off_for_a_stop_is_nobodys_fault_and_asked_for_again_if_its_end_is_not_known():
    assert decided(Outcome.UNSENT, GONE) == Decision(Action.RELEASE)
    assert decided(Outcome.DOUBTFUL, DoubtfulError("?", GONE)) == Decision(Action.RELEASE, min_wait=DOUBTFUL_WAIT)
