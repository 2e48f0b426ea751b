"""Workers of one process that share what the installed plugins say, and nothing else."""

from __future__ import annotations

import asyncio

import pytest

from studio_worker import InstalledEngines, LlmResult, NoEngine, Worker


async def test_workers_that_share_the_engines_have_processes_of_their_own(settings, site, words, soon):
    site.install("birch", isolation="process")
    installed = InstalledEngines(only=["birch"])
    workers = [Worker(settings(str(number)), installed=installed) for number in range(3)]
    async with workers[0], workers[1], workers[2]:
        results = await soon(asyncio.gather(*(each.submit(words(), model="birch-llm") for each in workers)))
    assert [type(result) for result in results] == [LlmResult] * 3


async def test_a_worker_that_disables_an_engine_leaves_it_to_the_others(settings, site, words, soon):
    site.install("birch")
    installed = InstalledEngines(only=["birch"])
    without = Worker(settings("without", disabled_engines=("birch",)), installed=installed)
    async with without, Worker(settings("with"), installed=installed) as worker:
        with pytest.raises(NoEngine):
            await without.submit(words(), model="birch-llm")
        assert isinstance(await soon(worker.submit(words(), model="birch-llm")), LlmResult)


async def test_a_worker_with_no_installed_engine_has_those_of_its_embedder_alone(settings, gate, words, soon):
    gate.opened.set()
    async with Worker(settings(), engines=[gate], installed=InstalledEngines(only=())) as worker:
        assert [engine.name for engine in worker.engines] == ["gate"]
        assert isinstance(await soon(worker.submit(words(), model="gate-llm")), LlmResult)
