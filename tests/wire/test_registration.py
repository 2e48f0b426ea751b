from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from studio_worker.wire.capabilities import Capabilities
from studio_worker.wire.registration import POLL_ANSWER, Approved, Pending, RegisterAnswer, RegisterRequest, Rejected
from studio_worker.wire.strict_json import dumps, loads

INSTALL_ID = "550e8400-e29b-41d4-a716-446655440000"


@given(st.from_type(RegisterRequest))
def test_a_request_survives_the_wire(request):
    assert RegisterRequest.from_wire(loads(dumps(request.to_wire()))) == request


def test_a_request_has_the_literal_shape_of_the_contract():
    request = RegisterRequest(
        install_id=INSTALL_ID,
        registration_secret_hash="ab" * 32,
        capabilities=Capabilities(),
        user_agent="studio-worker/0.1.0",
    )
    assert request.to_wire() == {
        "installId": INSTALL_ID,
        "registrationSecretHash": "ab" * 32,
        "capabilities": Capabilities().to_wire(),
        "userAgent": "studio-worker/0.1.0",
    }


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("installId", "not-a-uuid"),
        ("installId", f"{INSTALL_ID}\n"),
        ("installId", None),
        ("registrationSecretHash", "ab" * 31),
        ("registrationSecretHash", "zz" * 32),
        ("capabilities", None),
        ("capabilities", "all"),
        ("userAgent", "x" * 1_025),
    ],
)
def test_a_request_that_breaks_the_contract_is_refused_by_field(field, value):
    raw = {"installId": INSTALL_ID, "registrationSecretHash": "ab" * 32, "capabilities": {}, "userAgent": "u"}
    with pytest.raises(ValidationError) as caught:
        RegisterRequest.from_wire({**raw, field: value})
    assert caught.value.errors()[0]["loc"][0] == field


def test_the_answer_to_a_request_is_pending_with_an_id():
    answer = RegisterAnswer.from_wire({"requestId": "rr-1", "status": "pending", "etaSecs": 5})
    assert answer.to_wire() == {"requestId": "rr-1", "status": "pending"}


@pytest.mark.parametrize(
    ("answer", "meaning"),
    [
        ({"status": "pending"}, Pending()),
        ({"status": "approved", "workerId": "w-1", "authToken": "t"}, Approved(worker_id="w-1", auth_token="t")),
        ({"status": "rejected", "reason": "full"}, Rejected(reason="full")),
        ({"status": "rejected"}, Rejected()),
        ({"status": "rejected", "reason": None}, Rejected()),
        ({"status": "pending", "position": 7}, Pending()),
    ],
)
def test_each_answer_of_a_poll_is_read(answer, meaning):
    assert POLL_ANSWER.validate_json(json.dumps(answer)) == meaning
    assert POLL_ANSWER.validate_python(answer) == meaning


@pytest.mark.parametrize(
    "answer",
    [
        {},
        [],
        {"status": "maybe"},
        {"status": None},
        {"status": "approved"},
        {"status": "approved", "workerId": "w", "authToken": ""},
        {"status": "approved", "workerId": "w", "authToken": "s3cret\r\nX: y"},
        {"status": "approved", "workerId": "w", "authToken": ["s3cret"]},
        {"status": "approved", "workerId": 7, "authToken": "s3cret"},
        {"status": "approved", "workerId": "w" * 257, "authToken": "s3cret"},
    ],
    ids=range(10),
)
def test_an_answer_that_cannot_be_used_is_refused_without_repeating_its_token(answer):
    with pytest.raises(ValidationError) as caught:
        POLL_ANSWER.validate_python(answer)
    assert "s3cret" not in str(caught.value)


def test_a_token_is_in_no_repr():
    assert "s3cret" not in repr(Approved(worker_id="w", auth_token="s3cret"))
