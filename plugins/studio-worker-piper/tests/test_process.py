"""The engine where the worker runs it: in a process of its own, by the host."""

from __future__ import annotations

import asyncio
import wave
from pathlib import Path

from studio_worker import AudioResult, ModelFiles, TaskKind, TtsTask
from studio_worker.engines.description import EngineDescription
from studio_worker.engines.host import EngineCall, Host
from studio_worker.engines.router import Route

ENGINE = EngineDescription(
    name="piper",
    distribution="studio-worker-piper",
    plugin="piper",
    entry_point="studio_worker_piper",
    sources=("piper",),
    models={TaskKind.AUDIO_TTS: ("piper:*",)},
)


async def test_the_real_voice_speaks_in_a_process_of_its_own(model: ModelFiles, tmp_path: Path) -> None:
    steps: list[int] = []
    host = Host([ENGINE], tables={"piper": {"max_audio_secs": 30}})
    route = Route(ENGINE, TaskKind.AUDIO_TTS, model.id, "piper", "source")
    try:
        estimate = await asyncio.wait_for(host.estimate(route, model), 60)
        call = EngineCall(
            job_id="j-1",
            route=route,
            task=TtsTask(text="The quick brown fox jumps over the lazy dog."),
            model=model,
            inputs={},
            seed=1,
            work_dir=tmp_path,
            on_progress=lambda step, *_: steps.append(step),
        )
        output = await asyncio.wait_for(host.run(call), 100)
    finally:
        await host.aclose()
    assert estimate is not None
    assert estimate.ram_bytes > 10_000_000
    assert isinstance(output.result, AudioResult)
    assert output.meta["voice"] == "en_US-joe-medium"
    with wave.open(str(output.result.data), "rb") as sound:
        assert sound.getnframes() > 22_050
    assert steps[-1] == 1
