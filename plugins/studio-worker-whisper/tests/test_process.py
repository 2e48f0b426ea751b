"""The engine where the worker runs it: in a process of its own, by the host."""

from __future__ import annotations

import asyncio
from pathlib import Path

from studio_worker import ModelFiles, SttTask, TaskKind, TranscriptResult
from studio_worker.engines.description import EngineDescription
from studio_worker.engines.host import EngineCall, Host
from studio_worker.engines.router import Route

ENGINE = EngineDescription(
    name="whisper",
    distribution="studio-worker-whisper",
    plugin="whisper",
    entry_point="studio_worker_whisper",
    sources=("whisper",),
    models={TaskKind.AUDIO_STT: ("whisper:*",)},
)


async def test_real_speech_is_written_down_in_a_process_of_its_own(
    model: ModelFiles, speech: Path, tmp_path: Path
) -> None:
    host = Host([ENGINE])
    route = Route(ENGINE, TaskKind.AUDIO_STT, model.id, "whisper", "source")
    call = EngineCall(
        job_id="j-1",
        route=route,
        task=SttTask(input_url="https://example.com/a.wav"),
        model=model,
        inputs={"audio": speech},
        seed=1,
        work_dir=tmp_path,
        on_progress=lambda *report: None,
    )
    try:
        output = await asyncio.wait_for(host.run(call), 100)
    finally:
        await host.aclose()
    assert isinstance(output.result, TranscriptResult)
    assert "quick brown fox jumps over the lazy dog" in output.result.json["text"].lower()
