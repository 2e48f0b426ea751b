"""A worker with this engine, found as an installed plugin is: the voice downloaded, its process, a sound."""

from __future__ import annotations

import hashlib
import io
import wave
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web

from studio_worker import AudioResult, BadInput, Config, EngineError, ModelFiles, ModelSource, TtsTask, Worker


@pytest_asyncio.fixture
async def shelf(model: ModelFiles) -> AsyncIterator[tuple[str, list[str]]]:
    """A server of the voice's files, and the names that it was asked for."""
    paths = {path.name: path for paths in model.files.values() for path in paths}
    asked: list[str] = []

    async def serve(request: web.Request) -> web.FileResponse:
        asked.append(request.match_info["name"])
        return web.FileResponse(paths[request.match_info["name"]])

    app = web.Application()
    app.router.add_get("/{name}", serve)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0]
    yield f"http://{host}:{port}", asked
    await runner.cleanup()


def source(origin: str, model: ModelFiles, roles: dict[str, str]) -> ModelSource:
    """The voice as a claim names it, each file with its hash."""
    files = [
        {
            "role": roles[role],
            "url": f"{origin}/{path.name}",
            "filename": path.name,
            "approxBytes": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        for role, paths in model.files.items()
        for path in paths
    ]
    return ModelSource.from_wire({"engine": "piper", "files": files, "cliDefaults": {}})


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(
        api_base_url=None,
        state_dir=tmp_path / "state",
        models_root=tmp_path / "models",
        allow_private_urls=True,
        max_concurrent_jobs=2,
        plugins={"piper": {"max_audio_secs": 6}},
    )


@pytest.mark.parametrize("roles", [{"model": "model", "config": "config"}, {"model": "model", "config": "model"}])
async def test_a_worker_fetches_a_voice_and_speaks_with_it_twice(
    shelf: tuple[str, list[str]], model: ModelFiles, config: Config, tmp_path: Path, roles: dict[str, str]
) -> None:
    origin, asked = shelf
    voice = source(origin, model, roles)
    async with Worker(config) as worker:
        for text in ("Real text becomes real speech.", "And once more."):
            job = worker.submit(TtsTask(text=text), model="joe", source=voice)
            result = await job
            assert isinstance(result, AudioResult)
            assert isinstance(result.data, bytes)
            with wave.open(io.BytesIO(result.data)) as sound:
                assert (sound.getframerate(), sound.getnchannels()) == (22_050, 1)
                assert sound.getnframes() > 10_000
            meta = (await job.link.result).meta
            assert (meta["voice"], meta["sampleRate"], meta["engine"]) == ("en_US-joe-medium", 22_050, "piper")
    assert sorted(asked) == ["en_US-joe-medium.onnx", "en_US-joe-medium.onnx.json"]
    assert (tmp_path / "models" / "en_US-joe-medium.onnx").is_file()


async def test_what_a_voice_cannot_do_ends_the_job_by_its_field(
    shelf: tuple[str, list[str]], model: ModelFiles, config: Config
) -> None:
    voice = source(shelf[0], model, {"model": "model", "config": "config"})
    async with Worker(config) as worker:
        with pytest.raises(BadInput, match=r"task\.voice: 'alloy' is no voice of en_US-joe-medium"):
            await worker.submit(TtsTask(text="Hello.", voice="alloy"), model="joe", source=voice)
        with pytest.raises(BadInput, match="more than 6 seconds"):
            await worker.submit(TtsTask(text="One two three four. " * 20, speed=0.3), model="joe", source=voice)


async def test_a_voice_without_its_config_is_refused_with_the_file_to_add(
    shelf: tuple[str, list[str]], model: ModelFiles, config: Config
) -> None:
    lone = ModelFiles(id="joe", files={"model": model.files["model"]})
    async with Worker(config) as worker:
        with pytest.raises(EngineError, match=r"en_US-joe-medium\.onnx\.json: add it to the modelSource") as error:
            await worker.submit(TtsTask(text="Hello."), model="joe", source=source(shelf[0], lone, {"model": "model"}))
    assert not error.value.retryable
