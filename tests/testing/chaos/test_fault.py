"""What every fault has in common: to the worker it looks like the engine that it wraps."""

import asyncio

import pytest

from studio_worker import (
    Engine,
    EngineCapabilities,
    EngineError,
    Estimate,
    LlmResult,
    Needs,
    TaskKind,
    TextDelta,
    Unavailable,
)
from studio_worker.engines.self_report import report_of
from studio_worker.testing import chaos

SAID = {"role": "assistant", "content": "hello"}
ANSWER = {
    "object": "chat.completion",
    "model": "fox-1",
    "choices": [{"index": 0, "message": SAID, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}


class Fox(Engine):
    name = "fox"
    sources = ("fox", "vixen")
    isolation = "thread"
    concurrency = 3
    deterministic = True

    def capabilities(self):
        return EngineCapabilities({TaskKind.LLM: ["fox-1"]})

    def run(self, job):
        return LlmResult(ANSWER | {"loaded": job.loaded})


class Loading(Fox):
    def __init__(self):
        self.unloaded = []

    def load(self, model):
        return f"weights of {model.id}"

    def unload(self, loaded):
        self.unloaded.append(loaded)

    def estimate(self, model):
        return Estimate(ram_bytes=7)


class Talking(Fox):
    def stream(self, job):
        yield TextDelta("hel")
        yield TextDelta("lo")
        yield LlmResult(ANSWER)


class LoopFox(Fox):
    isolation = "loop"

    async def run(self, job):
        job.progress(1, 1)
        await asyncio.sleep(0)
        return LlmResult(ANSWER)

    async def stream(self, job):
        yield TextDelta("hello")
        yield LlmResult(ANSWER)


@pytest.fixture
def ask(order):
    def submit(worker, **options):
        return order(worker, model="fox-1", source=None, **options)

    return submit


def test_a_wrapped_engine_describes_itself_as_before():
    assert report_of(chaos.crash(Fox())) == report_of(Fox())


def test_what_an_engine_needs_is_needed_by_a_wrapped_one():
    class Needy(Fox):
        needs = Needs(gpu="nvidia")

    assert chaos.crash(Needy()).needs == Needs(gpu="nvidia")


def test_a_missing_library_stays_missing():
    class Lacking(Fox):
        def availability(self):
            return Unavailable("no fox here", "buy one")

    assert chaos.slow(Lacking()).availability() == Unavailable("no fox here", "buy one")


def test_an_engine_that_stands_alone_serves_every_kind():
    report = report_of(chaos.hang())
    assert (report["name"], report["sources"], report["isolation"]) == ("chaos", ["chaos"], "process")
    assert set(report["models"]) == set(TaskKind)


async def test_jobs_that_are_not_struck_are_the_engines_own(worker_with, ask):
    fault = chaos.crash(Fox(), "exception", on_job=2)
    async with worker_with(fault) as worker:
        assert (await ask(worker)).json["choices"][0]["message"] == SAID
        with pytest.raises(EngineError, match="chaos: an exception"):
            await ask(worker)
        assert (await ask(worker)).json["choices"][0]["message"] == SAID
    assert (fault.tally.jobs, fault.tally.struck) == (3, (2,))


async def test_a_model_is_loaded_and_unloaded_as_before(worker_with, ask):
    engine = Loading()
    async with worker_with(chaos.malformed(engine, on_job=2)) as worker:
        assert (await ask(worker)).json["loaded"] == "weights of fox-1"
    assert engine.unloaded == ["weights of fox-1"]


def test_an_estimate_is_the_engines_own():
    assert chaos.hang(Loading()).estimate(None) == Estimate(ram_bytes=7)


@pytest.mark.parametrize("engine", [Talking(), LoopFox()], ids=["thread", "loop"])
async def test_a_stream_comes_piece_by_piece_and_its_result_is_spoiled(worker_with, ask, engine):
    async with worker_with(chaos.malformed(engine, "shape", on_job=2)) as worker:
        assert "".join([piece.text async for piece in ask(worker, stream=True) if isinstance(piece, TextDelta)])
        spoiled = ask(worker, stream=True)
        assert [piece async for piece in spoiled if isinstance(piece, TextDelta)]
        with pytest.raises(Exception, match="wrong-shape"):
            await spoiled


async def test_an_engine_of_the_event_loop_stays_there_and_is_struck(worker_with, ask):
    fault = chaos.malformed(LoopFox(), "type", on_job=1)
    async with worker_with(fault) as worker:
        assert [engine.isolation for engine in worker.engines if engine.name == "fox"] == ["loop"]
        with pytest.raises(EngineError, match="returned str"):
            await ask(worker)
        assert (await ask(worker)).json["choices"][0]["message"] == SAID


async def test_faults_nest_each_with_its_own_jobs(worker_with, ask):
    inner = chaos.crash(Fox(), "exception", on_job=1)
    outer = chaos.malformed(inner, "json", on_job=2)
    async with worker_with(outer) as worker:
        with pytest.raises(EngineError, match="an exception"):
            await ask(worker)
        with pytest.raises(EngineError, match="JSON that cannot be sent"):
            await ask(worker)
        await ask(worker)


async def test_the_load_of_a_model_is_struck_in_place_of_a_run(worker_with, ask):
    fault = chaos.out_of_memory(Loading(), at="load", on_job=1)
    async with worker_with(fault) as worker:
        with pytest.raises(EngineError, match=r"80\.0 GB"):
            await ask(worker)
        assert (await ask(worker)).json["loaded"] == "weights of fox-1"
        await ask(worker)
    assert fault.tally.jobs == 2, "the model stays loaded: loads are counted, not runs"


async def test_an_engine_without_a_model_fails_at_a_load_too(worker_with, ask):
    async with worker_with(chaos.crash(Fox(), "exception", at="load", on_job=1)) as worker:
        with pytest.raises(EngineError, match="an exception"):
            await ask(worker)
        await ask(worker)
