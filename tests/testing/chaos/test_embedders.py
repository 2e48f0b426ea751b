"""What the kit is for: the bugs of a stranger's app and of a stranger's engine, each caught by a test of five lines."""

import threading

import pytest

from studio_worker import (
    Engine,
    EngineCapabilities,
    EngineError,
    ImageResult,
    ImageTask,
    JobCancelled,
    JobError,
    TaskKind,
    Worker,
)
from studio_worker.testing import chaos

CUP = ImageTask(prompt="a clay cup", width=64, height=64, ext="png")


class IconApp:
    """Somebody's app: makes an icon, and again where it failed. The bug: it asks no error whether that can help."""

    def __init__(self, worker):
        self.worker = worker
        self.tries = 0

    async def icon(self):
        for _ in range(3):
            self.tries += 1
            try:
                return (await self.worker.submit(CUP, model="chaos-image")).data
            except JobError as error:
                if not self.may_try_again(error):
                    raise
        raise RuntimeError("three tries")

    def may_try_again(self, error):
        return isinstance(error, JobError)


class MendedIconApp(IconApp):
    def may_try_again(self, error):
        return error.retryable


class LockingEngine(Engine):
    """Somebody's engine with one GPU behind a lock. The bug: a cancelled job never gives the lock back."""

    name = "locking"
    isolation = "thread"

    def __init__(self):
        self.gpu = threading.Lock()

    def capabilities(self):
        return EngineCapabilities({TaskKind.IMAGE: ["locking-1"]})

    def run(self, job):
        if not self.gpu.acquire(blocking=False):
            raise EngineError("the GPU is taken")
        job.progress(1, 2)
        job.progress(2, 2)
        picture = chaos.Alone().run(job)
        self.gpu.release()
        return picture


class MendedLockingEngine(LockingEngine):
    def run(self, job):
        with self.gpu:
            job.progress(1, 2)
            return ImageResult(chaos.Alone().run(job).data, "png")


async def crash_test(app, settings, in_folder):
    """An embedder's five lines: the app gets its icon although the engine's process dies under its first job."""
    faulty = chaos.in_process(in_folder, "crash", on_job=1)
    async with Worker(settings(), engines=[faulty]) as worker:
        assert await app(worker).icon()


async def wrong_job_test(app, settings):
    """Another: what no further try can cure is tried once."""
    async with Worker(settings(), engines=[chaos.crash(how="bad_input")]) as worker:
        made = app(worker)
        with pytest.raises(JobError):
            await made.icon()
        assert made.tries == 1


async def cancel_test(engine, settings):
    """An engine author's: a job is cancelled between two steps, and the next one is served."""
    fault = chaos.slow(engine, 600, on_job=1)
    async with Worker(settings(), engines=[fault]) as worker:
        job = worker.submit(CUP, model="locking-1")
        await anext(aiter(job))
        job.cancel()
        with pytest.raises(JobCancelled):
            await job
        await worker.submit(CUP, model="locking-1")


@pytest.mark.parametrize("app", [IconApp, MendedIconApp])
async def test_an_app_that_tries_again_survives_a_crash(app, settings, in_folder):
    await crash_test(app, settings, in_folder)


async def test_the_bug_of_an_app_that_tries_in_vain_is_caught(settings):
    with pytest.raises(RuntimeError, match="three tries"):
        await wrong_job_test(IconApp, settings)


async def test_the_mended_app_passes_the_same_test(settings):
    await wrong_job_test(MendedIconApp, settings)


async def test_the_bug_of_an_engine_that_keeps_its_lock_is_caught(settings):
    with pytest.raises(EngineError, match="the GPU is taken"):
        await cancel_test(LockingEngine(), settings)


async def test_the_mended_engine_passes_the_same_test(settings):
    await cancel_test(MendedLockingEngine(), settings)
