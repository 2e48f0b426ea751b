"""The builders of claims: valid as they are, each field open."""

from __future__ import annotations

import io
import wave

import pytest

from studio_worker.errors import BadClaim
from studio_worker.testing.claims import CLAIM_BUILDERS, claim, image_claim, llm_claim, silence, silence_url, stt_claim
from studio_worker.wire.claims import parse_claim
from studio_worker.wire.kinds import TaskKind


def test_there_is_a_builder_for_every_kind() -> None:
    assert set(CLAIM_BUILDERS) == set(TaskKind)


@pytest.mark.parametrize("kind", TaskKind)
def test_a_claim_carries_its_job_id_and_the_synthetic_source(kind: TaskKind) -> None:
    raw = CLAIM_BUILDERS[kind]("job-9")
    assert raw["jobId"] == "job-9"
    assert raw["modelSource"] == {"engine": "synthetic", "files": [], "cliDefaults": {}}
    assert raw["model"] == f"synthetic-{kind.removeprefix('audio_')}"
    assert "attempt" not in raw


@pytest.mark.parametrize("kind", TaskKind)
def test_two_claims_share_nothing_that_a_test_may_change(kind: TaskKind) -> None:
    one, two = CLAIM_BUILDERS[kind](), CLAIM_BUILDERS[kind]()
    one["task"]["kind"] = "broken"
    one["modelSource"]["engine"] = "broken"
    assert two == CLAIM_BUILDERS[kind]()


def test_what_is_given_is_in_the_claim_by_its_wire_name() -> None:
    files = [{"role": "model", "url": "https://x.example/a", "filename": "a.gguf"}]
    raw = claim(
        {"kind": "llm", "messages": [{"role": "user", "content": "x"}]},
        "j",
        engine="llama-cpp",
        model="talker",
        files=files,
        defaults={"contextSize": 4096},
        vram_gb=2.5,
        attempt=3,
    )
    parsed = parse_claim(raw)
    assert (parsed.model, parsed.attempt) == ("talker", 3)
    assert parsed.source.engine == "llama-cpp"
    assert parsed.source.cli_defaults.context_size == 4096
    assert parsed.source.files[0].filename == "a.gguf"
    assert raw["vramGbEstimate"] == 2.5
    files[0]["filename"] = "changed"
    assert raw["modelSource"]["files"][0]["filename"] == "a.gguf"


def test_a_task_may_be_broken_on_purpose() -> None:
    with pytest.raises(BadClaim, match=r"task\.width"):
        parse_claim(image_claim(width=0))
    with pytest.raises(BadClaim, match=r"task\.messages"):
        parse_claim(llm_claim(messages=[]))


def test_silence_is_a_whole_wav_file_of_its_length() -> None:
    with wave.open(io.BytesIO(silence(0.5, 8_000))) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate(), file.getnframes()) == (
            1,
            2,
            8_000,
            4_000,
        )
        assert set(file.readframes(4_000)) == {0}


def test_the_sound_of_an_stt_claim_comes_with_it() -> None:
    assert stt_claim()["task"]["inputUrl"] == silence_url()
    assert silence_url().startswith("data:audio/wav;base64,UklGR")
