"""The rules of registration, without a socket: state in, answer in, state out."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio_worker.session.registration import (
    UNAUTHORISED_LIMIT,
    Admitted,
    Forgotten,
    NoAnswer,
    PollAnswer,
    Registration,
    Taken,
    TurnedDown,
    Unauthorised,
    Undecided,
    asked,
    polled,
    prepared,
    secret_hash,
)
from studio_worker.state import Credentials

PRISTINE = Registration(Credentials("https://studio.example"))
INSTALL = uuid.UUID("12345678-1234-4234-8234-123456789abc")
SECRET = "ab" * 32
NOW = "2026-01-01T00:00:00.000Z"


def pending() -> Registration:
    return asked(prepared(PRISTINE, install_id=INSTALL, secret=SECRET), Taken("rr-1"), now=NOW)


def test_a_fresh_machine_is_pristine_and_gets_an_id_and_a_secret() -> None:
    ready = prepared(PRISTINE, install_id=INSTALL, secret=SECRET)

    assert PRISTINE.phase == ready.phase == "pristine"
    assert ready.credentials.install_id == str(INSTALL)
    assert ready.credentials.registration_secret == SECRET


def test_the_install_id_stays_for_good() -> None:
    known = Registration(Credentials("https://studio.example", install_id="kept"))

    assert prepared(known, install_id=INSTALL, secret=SECRET).credentials.install_id == "kept"


def test_a_secret_whose_request_was_lost_is_used_again() -> None:
    known = Registration(Credentials("https://studio.example", install_id="i", registration_secret="old"))

    assert prepared(known, install_id=INSTALL, secret=SECRET) is known


def test_a_request_without_its_secret_is_dropped() -> None:
    known = Registration(Credentials("https://studio.example", install_id="i", registration_request_id="rr-9"))
    ready = prepared(known, install_id=INSTALL, secret=SECRET)

    assert ready.credentials.registration_request_id is None
    assert ready.credentials.registration_secret == SECRET


def test_only_the_hash_of_the_secrets_text_leaves_the_machine() -> None:
    assert secret_hash(SECRET) == hashlib.sha256(SECRET.encode()).hexdigest()


def test_a_request_that_was_taken_is_pending_since_then() -> None:
    state = pending()

    assert (state.phase, state.detail) == ("pending", "rr-1")
    assert state.credentials.registration_requested_at == NOW


def test_a_request_that_got_no_answer_stays_pristine_and_keeps_its_secret() -> None:
    ready = prepared(PRISTINE, install_id=INSTALL, secret=SECRET)

    assert asked(ready, NoAnswer("500"), now=NOW) is ready


@pytest.mark.parametrize("answer", [Undecided(), NoAnswer("503"), Unauthorised()])
def test_pending_stays_pending_since_the_first_time(answer: PollAnswer) -> None:
    after = polled(pending(), answer)

    assert after.phase == "pending"
    assert after.credentials == pending().credentials


def test_an_approval_keeps_id_and_token_and_drops_request_and_secret() -> None:
    after = polled(pending(), Admitted("w-1", "token"))

    assert (after.phase, after.detail) == ("approved", "w-1")
    assert after.is_over
    assert after.credentials == Credentials(
        "https://studio.example", install_id=str(INSTALL), worker_id="w-1", auth_token="token"
    )


def test_a_rejection_drops_the_request_and_keeps_the_reason() -> None:
    after = polled(pending(), TurnedDown("not one of ours"))

    assert (after.phase, after.detail) == ("rejected", "not one of ours")
    assert after.is_over
    assert after.credentials == Credentials("https://studio.example", install_id=str(INSTALL))


def test_a_forgotten_request_starts_over_with_a_new_secret() -> None:
    after = polled(pending(), Forgotten())

    assert after.phase == "pristine"
    assert after.credentials.registration_secret is None
    assert prepared(after, install_id=INSTALL, secret="new").credentials.registration_secret == "new"


def test_five_401s_in_a_row_start_over() -> None:
    state = pending()
    for _ in range(UNAUTHORISED_LIMIT - 1):
        state = polled(state, Unauthorised())
        assert state.phase == "pending"

    assert polled(state, Unauthorised()).phase == "pristine"


def test_an_answer_in_between_wipes_the_401s_out() -> None:
    state = pending()
    for answer in [Unauthorised()] * 4 + [Undecided()] + [Unauthorised()] * 4:
        state = polled(state, answer)

    assert state.phase == "pending"


def test_no_answer_neither_counts_as_a_401_nor_wipes_one_out() -> None:
    state = pending()
    for answer in [Unauthorised()] * 4 + [NoAnswer("503")]:
        state = polled(state, answer)

    assert polled(state, Unauthorised()).phase == "pristine"


def test_empty_texts_count_as_absent() -> None:
    known = Registration(Credentials("https://studio.example", worker_id="", auth_token=""))

    assert known.phase == "pristine"


def test_an_admission_never_shows_its_token() -> None:
    assert "token-1" not in repr(Admitted("w-1", "token-1"))


answers = st.one_of(
    st.just(Undecided()),
    st.just(Forgotten()),
    st.just(Unauthorised()),
    st.builds(NoAnswer, st.just("503")),
    st.just(TurnedDown("no")),
    st.just(Admitted("w-1", "token")),
)


@given(st.lists(answers, max_size=30))
def test_whatever_a_studio_answers_the_state_is_whole(given_answers: list[PollAnswer]) -> None:
    state = pending()
    for answer in given_answers:
        if state.is_over:
            break
        if state.phase == "pristine":
            state = asked(prepared(state, install_id=INSTALL, secret=SECRET), Taken("rr-2"), now=NOW)
        state = polled(state, answer)
        known = state.credentials
        assert known.install_id == str(INSTALL)
        assert bool(known.registration_request_id) == bool(known.registration_secret)
        assert not (known.auth_token and known.registration_secret)
        assert replace(known) == known
