from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio_worker.errors import BadClaim
from studio_worker.wire.claims import Claim, Fingerprint, claim_to_wire, fingerprint, is_job_id, parse_claim
from studio_worker.wire.strict_json import dumps, loads


@given(st.from_type(Claim))
def test_a_claim_survives_the_wire(claim):
    assert parse_claim(loads(dumps(claim_to_wire(claim)))) == claim


@given(st.from_type(Claim))
def test_a_claim_keeps_its_fingerprint_over_the_wire(claim):
    raw = claim_to_wire(claim)
    assert fingerprint(loads(dumps(raw))) == fingerprint(raw)


def test_a_claim_is_read_whole(sound_claim):
    claim = parse_claim({**sound_claim, "attempt": 2, "prompt": "legacy", "ext": "webp"})
    assert (claim.job_id, claim.game_id, claim.asset_name) == ("j-9", "g", "g/items/cup")
    assert (claim.model, claim.vram_gb_estimate, claim.attempt) == ("z-image.gguf", 12.0, 2)
    assert (claim.task.width, claim.source.engine) == (64, "sd-cpp")


@pytest.mark.parametrize("field", ["gameId", "assetName", "vramGbEstimate", "attempt"])
def test_what_is_optional_may_be_missing_or_null(field, sound_claim):
    missing = {key: value for key, value in sound_claim.items() if key != field}
    assert parse_claim(missing) == parse_claim({**sound_claim, field: None})


@pytest.mark.parametrize("field", ["task", "modelSource"])
@pytest.mark.parametrize("absence", ["missing", "null"])
def test_a_claim_without_task_or_source_is_refused_by_name(field, absence, sound_claim):
    del sound_claim[field]
    if absence == "null":
        sound_claim[field] = None
    with pytest.raises(BadClaim, match="is required") as caught:
        parse_claim(sound_claim)
    assert caught.value.field == field
    assert caught.value.retryable is False


@pytest.mark.parametrize(
    "job_id",
    ["../../admin", "..", ".", "a/b", "a\r\nX: y", "a\n", "", "x" * 10_240, "x" * 129, ":a", ".a", "ä", "a b", "a%2f"],
    ids=range(14),
)
def test_a_job_id_that_could_move_a_path_is_refused_by_the_rule(job_id, refused):
    assert not is_job_id(job_id)
    error = refused("jobId", job_id)
    assert error.field == "jobId"
    assert len(str(error)) < 200


@pytest.mark.parametrize("job_id", ["j", "-", "_", "j-9", "550e8400-e29b-41d4-a716-446655440000", "a..b", "x" * 128])
def test_an_ordinary_job_id_is_taken(job_id):
    assert is_job_id(job_id)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("vramGbEstimate", -5),
        ("vramGbEstimate", float("nan")),
        ("vramGbEstimate", float("inf")),
        ("vramGbEstimate", "12"),
        ("vramGbEstimate", True),
        ("model", ""),
        ("model", None),
        ("model", 5),
        ("model", "x" * 513),
        ("gameId", 5),
        ("gameId", "x" * 4_097),
        ("assetName", ["a"]),
        ("attempt", -1),
        ("attempt", True),
        ("attempt", "1"),
        ("attempt", 1.0),
    ],
    ids=range(16),
)
def test_a_field_of_the_envelope_that_breaks_its_rule_is_named(field, value, refused):
    assert refused(field, value).field == field


def test_no_refusal_repeats_a_long_value(refused):
    secret = "s3cret" * 20
    for place in ("model", "gameId", "task.ext", "task.prompt", "modelSource.engine", "modelSource.files.0.filename"):
        value = secret * 100 if place in ("model", "gameId") else [secret] if place == "task.prompt" else secret
        if place == "modelSource.files.0.filename":
            value = f"../{secret}"
        assert "s3cret" not in str(refused(place, value))


def shuffled(value):
    if isinstance(value, dict):
        return {key: shuffled(value[key]) for key in reversed(value)}
    return [shuffled(item) for item in value] if isinstance(value, list) else value


def test_the_order_of_keys_does_not_change_a_fingerprint(sound_claim):
    assert fingerprint(shuffled(sound_claim)) == fingerprint(sound_claim)


@pytest.mark.parametrize("field", ["jobId", "gameId", "assetName", "attempt", "vramGbEstimate", "tomorrow"])
def test_what_is_not_the_work_does_not_change_a_fingerprint(field, sound_claim):
    assert fingerprint({**sound_claim, field: "other"}) == fingerprint(sound_claim)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("model", "other"),
        ("task.prompt", "another cup"),
        ("task.seed", 1),
        ("task.unknownField", 1),
        ("modelSource.engine", "onnx"),
        ("modelSource.cliDefaults.steps", 9),
    ],
)
def test_other_work_has_another_fingerprint(place, value, sound_claim):
    other = copy.deepcopy(sound_claim)
    *path, last = place.split(".")
    node = other
    for part in path:
        node = node[part]
    node[last] = value
    assert fingerprint(other) != fingerprint(sound_claim)


def test_a_fingerprint_is_64_hexadecimal_digits_whatever_the_claim_holds():
    assert len(fingerprint({})) == 64
    deep = loads('{"task":' + "[" * 500 + "]" * 500 + "}")
    assert int(fingerprint(deep), 16)


class TestAFingerprintOfAnOffer:
    def test_equals_that_of_the_same_work_and_no_other(self, sound_claim):
        again, other = shuffled(sound_claim), {**sound_claim, "model": "another"}
        assert Fingerprint(sound_claim) == Fingerprint(again) == Fingerprint(text=fingerprint(sound_claim))
        assert Fingerprint(sound_claim) != Fingerprint(other)

    def test_that_is_missing_equals_nothing(self):
        deep = []
        for _ in range(100_000):
            deep = [deep]
        assert Fingerprint({"task": deep}).text == Fingerprint().text == ""
        assert Fingerprint() != Fingerprint()

    def test_shows_its_first_digits_alone(self, sound_claim):
        assert repr(Fingerprint(sound_claim)) == f"Fingerprint('{fingerprint(sound_claim)[:12]}')"
