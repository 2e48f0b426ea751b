from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio_worker.errors import ConfigError
from studio_worker.state.credentials import NAMES, Credentials, parse_credentials

ORIGIN = "https://studio.example"


def test_the_secrets_are_in_no_representation() -> None:
    credentials = Credentials(ORIGIN, worker_id="w-1", auth_token="hunter2", registration_secret="hunter3")
    assert "hunter" not in repr(credentials) + str(credentials) + f"{[credentials]}"
    assert "w-1" in repr(credentials)


def test_worker_id_and_token_together_are_an_approval() -> None:
    assert Credentials(ORIGIN, worker_id="w", auth_token="t").state == "approved"


@pytest.mark.parametrize("half", [{"worker_id": "w"}, {"auth_token": "t"}, {"worker_id": "", "auth_token": "t"}])
def test_half_an_approval_is_none(half: dict[str, str]) -> None:
    assert Credentials(ORIGIN, **half).state == "pristine"


def test_a_request_with_its_secret_is_pending() -> None:
    assert Credentials(ORIGIN, registration_request_id="rr", registration_secret="s").state == "pending"


def test_a_request_without_its_secret_cannot_be_asked_about() -> None:
    assert Credentials(ORIGIN, registration_request_id="rr").state == "pristine"


def test_empty_text_counts_as_absent() -> None:
    assert parse_credentials(ORIGIN, dict.fromkeys(NAMES, ""), where="f") == Credentials(ORIGIN)


def test_other_keys_are_ignored() -> None:
    assert parse_credentials(ORIGIN, {"vram_threshold_gb": 3}, where="f") == Credentials(ORIGIN)


@pytest.mark.parametrize("bad", ["a\r\nX: y", "a b", "tökén", "\x00", "x" * 4_097, 5, True, ["x"]])
def test_what_no_header_can_carry_is_refused_by_field_and_unseen(bad: object) -> None:
    with pytest.raises(ConfigError, match=r"creds\.json: auth_token must be printable ASCII") as caught:
        parse_credentials(ORIGIN, {"auth_token": bad}, where="creds.json")
    assert "X: y" not in str(caught.value)
    assert "register --reset" in str(caught.value)


@given(st.dictionaries(st.sampled_from(NAMES), st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E))))
def test_what_a_file_can_hold_comes_back(raw: dict[str, str]) -> None:
    parsed = parse_credentials(ORIGIN, raw, where="f")
    assert parsed.to_json() == {key: value for key, value in raw.items() if value}
