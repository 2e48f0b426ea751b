"""Claims as a studio sends them, one builder a kind: valid as they are, each field open to a test's own value."""

from __future__ import annotations

import base64
import io
import wave
from collections.abc import Mapping, Sequence
from typing import Any

from studio_worker.wire.kinds import TaskKind

RawClaim = dict[str, Any]


def claim(
    task: Mapping[str, Any],
    job_id: str = "job-1",
    *,
    engine: str = "synthetic",
    model: str | None = None,
    files: Sequence[Mapping[str, Any]] = (),
    defaults: Mapping[str, Any] | None = None,
    vram_gb: float = 0.0,
    attempt: int | None = None,
) -> RawClaim:
    """A claim around any task.

    Args:
        task: the task by its wire names, with `kind`; nothing is checked, so that a test can break it.
        job_id: the job's id.
        engine: `modelSource.engine`.
        model: the model id; ``synthetic-<kind>`` where it is not given.
        files: `modelSource.files` by their wire names.
        defaults: `modelSource.cliDefaults`.
        vram_gb: `vramGbEstimate`.
        attempt: our extension field, left out where it is None.
    """
    source = {"engine": engine, "files": [dict(file) for file in files], "cliDefaults": dict(defaults or {})}
    return {
        "jobId": job_id,
        "gameId": "game",
        "assetName": "game/items/cup",
        "model": model or f"synthetic-{_model_suffix(task)}",
        "vramGbEstimate": vram_gb,
        "task": dict(task),
        "modelSource": source,
        **({} if attempt is None else {"attempt": attempt}),
    }


def image_claim(job_id: str = "job-1", *, claim_fields: Mapping[str, Any] | None = None, **task: Any) -> RawClaim:
    """A picture of 64 x 64 pixels. `task` overrides fields of the task, `claim_fields` arguments of `claim`."""
    fields = {"kind": TaskKind.IMAGE.value, "prompt": "a clay cup", "width": 64, "height": 64, "ext": "png"}
    return claim(fields | task, job_id, **(claim_fields or {}))


def llm_claim(job_id: str = "job-1", *, claim_fields: Mapping[str, Any] | None = None, **task: Any) -> RawClaim:
    """One turn of a conversation."""
    fields = {"kind": TaskKind.LLM.value, "messages": [{"role": "user", "content": "Say hello."}], "maxTokens": 16}
    return claim(fields | task, job_id, **(claim_fields or {}))


def stt_claim(job_id: str = "job-1", *, claim_fields: Mapping[str, Any] | None = None, **task: Any) -> RawClaim:
    """A quarter of a second of silence to write down, as a `data:` URL."""
    return claim({"kind": TaskKind.AUDIO_STT.value, "inputUrl": silence_url()} | task, job_id, **(claim_fields or {}))


def tts_claim(job_id: str = "job-1", *, claim_fields: Mapping[str, Any] | None = None, **task: Any) -> RawClaim:
    """A sentence to speak."""
    return claim(
        {"kind": TaskKind.AUDIO_TTS.value, "text": "Good morning.", "ext": "wav"} | task,
        job_id,
        **(claim_fields or {}),
    )


def video_claim(job_id: str = "job-1", *, claim_fields: Mapping[str, Any] | None = None, **task: Any) -> RawClaim:
    """A quarter of a second of moving picture, 32 x 32 pixels, as GIF."""
    fields = {"kind": TaskKind.VIDEO.value, "prompt": "a spinning cup", "seconds": 0.25, "fps": 8}
    return claim(fields | {"width": 32, "height": 32, "ext": "gif"} | task, job_id, **(claim_fields or {}))


CLAIM_BUILDERS = {
    TaskKind.IMAGE: image_claim,
    TaskKind.LLM: llm_claim,
    TaskKind.AUDIO_STT: stt_claim,
    TaskKind.AUDIO_TTS: tts_claim,
    TaskKind.VIDEO: video_claim,
}
"""The builder of each kind."""


def silence(secs: float = 0.25, rate: int = 16_000) -> bytes:
    """A WAV file of silence: 16-bit mono at `rate` Hz."""
    return _wav(bytes(2 * int(secs * rate)), rate)


def hum(secs: float = 0.25, rate: int = 16_000) -> bytes:
    """A WAV file of a low hum, which is not silent: 16-bit mono at `rate` Hz."""
    wave_length = rate // 100
    period = b"\x00\x10" * (wave_length // 2) + b"\x00\xf0" * (wave_length - wave_length // 2)
    return _wav((period * (int(secs * rate) // wave_length + 1))[: 2 * int(secs * rate)], rate)


def _wav(pcm: bytes, rate: int) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(pcm)
    return out.getvalue()


def silence_url() -> str:
    """`silence` as a `data:` URL."""
    return f"data:audio/wav;base64,{base64.b64encode(silence()).decode()}"


def _model_suffix(task: Mapping[str, Any]) -> str:
    return str(task.get("kind")).removeprefix("audio_")
