"""A worker whose engine keeps dying: the job fails, the worker goes on, and the pair gets a rest."""

import pytest

from studio_worker import Worker
from studio_worker.errors import EngineError
from studio_worker.wire.model_source import parse_model_source

DYING = """
import os

from studio_worker import Engine, EngineCapabilities, LlmResult, TaskKind


class DyingEngine(Engine):
    name = "dying"

    def capabilities(self):
        return EngineCapabilities({TaskKind.LLM: ["dying:*"]})

    def run(self, job):
        if job.model == "deadly":
            os._exit(3)
        message = {"role": "assistant", "content": "alive"}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return LlmResult({"object": "chat.completion", "model": job.model, "choices": [choice], "usage": usage})


def make():
    return DyingEngine()
"""


@pytest.fixture
def dying(tmp_path, monkeypatch):
    """The engine's factory by name, so that it gets a process."""
    (tmp_path / "dying_engine.py").write_text(DYING)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "dying_engine:make"


async def test_a_model_on_which_an_engine_dies_three_times_is_refused_and_others_are_served(settings, words, dying):
    source = parse_model_source({"engine": "dying"})
    async with Worker(settings(), engines=[dying]) as worker:
        for _ in range(3):
            with pytest.raises(EngineError, match="exit status 3"):
                await worker.submit(words(), model="deadly", source=source)
        with pytest.raises(EngineError, match="engine 'dying' died 3 times on model 'deadly'") as refused:
            await worker.submit(words(), model="deadly", source=source)
        answer = await worker.submit(words(), model="harmless", source=source)
    assert refused.value.retryable
    assert answer.json["choices"][0]["message"]["content"] == "alive"
