"""The functions on the page for embedders do what the page says of them."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from studio_worker import ImageTask, InstalledEngines, JobCancelled, RegistrationRejected, Worker
from studio_worker.testing.scripted_studio import ScriptedStudio

from .conftest import ROOT, Page

PAGE = Page(ROOT / "docs" / "how-to" / "embed-a-worker.md")


@pytest.fixture(scope="module")
def shown() -> SimpleNamespace:
    """What the page defines, without what it runs."""
    found: dict[str, Any] = {}
    for block in PAGE.blocks("python"):
        exec("\n".join(part for part in block.split("\n\n\n") if "asyncio.run(" not in part), found)
    return SimpleNamespace(**found)


@pytest.fixture
def quick() -> InstalledEngines:
    return InstalledEngines(only=["synthetic"])


def small(prompt: str = "a lighthouse") -> ImageTask:
    return ImageTask(prompt=prompt, width=64, height=64, ext="png")


async def test_a_picture_that_is_drawn_in_time_is_given_back(shown, settings, quick):
    async with Worker(settings(), installed=quick) as worker:
        assert (await shown.drawn_in_time(worker, small(), 60)).startswith(b"\x89PNG")


async def test_one_that_is_not_is_given_up_and_its_job_with_it(shown, settings, quick, soon):
    async with Worker(settings(), installed=quick) as worker:
        jobs, submit = [], worker.submit
        worker.submit = lambda *given, **named: jobs.append(submit(*given, **named)) or jobs[-1]
        with pytest.raises(TimeoutError):
            await shown.drawn_in_time(worker, small(), 0)
        with pytest.raises(JobCancelled, match="nobody waits"):
            await soon(jobs[0])


async def test_the_watcher_prints_each_event_and_how_many_were_missed(shown, settings, quick, soon, capsys):
    async with Worker(settings(), installed=quick) as worker:
        watching = asyncio.create_task(shown.watch(worker))
        await asyncio.sleep(0)
        await worker.submit(small(), model="synthetic-image")
    await soon(watching)
    lines = capsys.readouterr().out.splitlines()
    assert {"JobAccepted", "JobDelivered"} <= {line.split()[-1] for line in lines}
    assert lines[-1] == "0 events came too fast"


async def test_beside_other_things_a_refusal_ends_those_too(shown, settings, soon):
    async def other_things() -> None:
        await asyncio.Event().wait()

    async with ScriptedStudio() as studio:
        studio.decision = "rejected"
        with pytest.raises(ExceptionGroup) as caught:
            await soon(shown.beside_other_things(settings(api_base_url=studio.url), other_things))
    assert [type(error) for error in caught.value.exceptions] == [RegistrationRejected]
