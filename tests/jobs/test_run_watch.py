"""Who hears what while a job runs."""

import pytest

from studio_worker.engines.job_watch import Held
from studio_worker.jobs.run_watch import RunWatch
from studio_worker.jobs.stage_limits import Stage, StageLimits, StageWatch
from studio_worker.jobs.stage_timer import StageTimer


@pytest.fixture
async def stages(clock):
    return StageWatch(StageLimits(), clock)


@pytest.fixture
async def heard():
    return []


@pytest.fixture
async def watch(stages, clock, heard):
    with StageTimer(stages, clock, heard.append) as timer:
        yield RunWatch(timer, heard.append, lambda *report: heard.append(report))


async def test_a_job_waits_until_its_engine_has_taken_it(watch, stages):
    assert stages.stage is Stage.WAIT
    watch.taken()
    assert stages.stage is Stage.LOAD


async def test_the_end_of_the_load_begins_the_first_output_and_tells_what_is_held(watch, stages, heard):
    watch.taken()
    watch.loaded(Held(5, 6))
    assert stages.stage is Stage.FIRST_OUTPUT
    assert heard == [Held(5, 6)]


async def test_progress_ends_the_first_output_and_goes_on_as_it_came(watch, stages, heard):
    watch.loaded(Held())
    watch.progress(1, 4, "paint", b"preview")
    assert stages.stage is Stage.STEP
    assert heard == [Held(), (1, 4, "paint", b"preview")]
