"""Engines with processes of their own: where their jobs run, what they see, how many run at once."""

import asyncio
import os
import sys
import threading

import psutil
import pytest

from studio_worker.engines.base import Estimate
from studio_worker.errors import EngineError
from studio_worker.models.files import LoadOptions, ModelFiles
from studio_worker.wire.kinds import TaskKind
from studio_worker.wire.model_source import ModelSource

WAIT_SECS = 30.0
"""An upper bound for what is awaited; nothing here takes that long."""

COUNTING = """
loads = 0

def load(self, model):
    self.loads += 1
    return {"files": model.files["model"], "size": model.options.context_size}

def run(self, job):
    return say(loads=self.loads, file=str(job.loaded["files"][0]), size=job.loaded["size"], pid=os.getpid())
"""


async def within(awaitable):
    return await asyncio.wait_for(awaitable, WAIT_SECS)


# where a job runs


async def test_a_job_runs_in_another_process_and_nothing_of_its_plugin_is_imported_here(workshop):
    host = workshop.host()
    assert await workshop.pid(host) != os.getpid()
    assert "plugin_toy" not in sys.modules


async def test_the_process_stays_between_jobs(workshop):
    host = workshop.host()
    assert await workshop.pid(host) == await workshop.pid(host)
    assert workshop.deaths == []


async def test_no_process_is_there_before_the_first_job(workshop):
    host = workshop.host()
    await host.start()
    assert not [child for child in psutil.Process().children() if "engines.child" in " ".join(child.cmdline())]


class Checks:
    """What is asked before a start: by whom, and what it answers."""

    def __init__(self):
        self.asked = []
        self.refusal = None

    def __call__(self, engine):
        self.asked.append((engine.name, threading.current_thread() is threading.main_thread()))
        if self.refusal is not None:
            raise self.refusal


async def test_each_start_of_a_process_is_allowed_in_a_thread_and_no_job_of_one_that_runs(workshop):
    checks = Checks()
    host = workshop.host(check=checks)
    assert await workshop.pid(host) == await workshop.pid(host)
    assert checks.asked == [("toy", False)]
    await within(host.unload(host.descriptions[0].key))
    await workshop.pid(host)
    assert checks.asked == [("toy", False)] * 2


async def test_a_process_that_may_not_start_fails_its_job_with_the_reason_and_the_next_may(workshop):
    checks = Checks()
    checks.refusal = EngineError("it has changed")
    host = workshop.host(check=checks)
    with pytest.raises(EngineError, match="it has changed"):
        await workshop.run(host)
    assert not [child for child in psutil.Process().children() if "engines.child" in " ".join(child.cmdline())]
    checks.refusal = None
    assert await workshop.pid(host)
    assert workshop.deaths == []


async def test_each_engine_has_a_process_of_its_own(workshop):
    host = workshop.host_of(workshop.engine(name="one"), workshop.engine(name="two"))
    one = await workshop.run(host, name="one")
    two = await workshop.run(host, name="two")
    assert one["pid"] != two["pid"]


async def test_the_workers_main_module_is_not_run_again(workshop):
    body = "def run(self, job): return say(main=sys.modules['__main__'].__file__, argv=sys.argv[1:])"
    seen = await workshop.run(workshop.host(body))
    assert (seen["main"].endswith("child.py"), seen["argv"]) == (True, [])


async def test_an_engine_of_a_factory_is_built_in_the_process(bench, workshop):
    workshop.engine(
        "def run(self, job): return say(pid=os.getpid(), which=self.which)",
        module="""
        def pair():
            found = [Mine(), Mine()]
            for which, mine in enumerate(found):
                mine.name, mine.which = f"toy-{which}", which
            return found
        """,
    )
    host = await bench.factory_host("plugin_toy:pair")
    seen = [await workshop.run(host, name=f"toy-{which}") for which in (1, 0)]
    assert [each["which"] for each in seen] == [1, 0]
    assert os.getpid() not in [each["pid"] for each in seen]


# what an engine sees


async def test_an_engine_sees_its_whole_job(workshop, tmp_path, model_files):
    body = """
        def run(self, job):
            task = job.task
            seen = [job.id, job.model, job.seed, str(job.work_dir), task.negative_prompt, task.cfg_scale, task.steps,
                    {k: str(v) for k, v in job.inputs.items()}, {k: [str(p) for p in v] for k, v in job.files.items()},
                    job.options.context_size, job.options.device, dict(job.options.chat_template_kwargs),
                    job.source.engine, job.cancelled]
            job.meta["seen"] = seen
            return ImageResult(b"x", "png")
    """
    host = workshop.host(body, kind=TaskKind.IMAGE)
    found = model_files(tmp_path, "m.bin")
    options = LoadOptions(context_size=5, device="cuda:1", chat_template_kwargs={"a": [1]})
    model = ModelFiles("m.bin", ModelSource(engine="toy"), found.files, options, tmp_path)
    task = {"negativePrompt": "fog", "cfgScale": 2.5, "steps": 7}
    call = workshop.bench.call(host, model=model, task=task, inputs={"image": tmp_path / "in.png"})
    output = await within(host.run(call))
    assert output.meta["seen"] == [
        call.job_id, "m.bin", 7, str(call.work_dir), "fog", 2.5, 7, {"image": str(tmp_path / "in.png")},
        {"model": [str(tmp_path / "m.bin")]}, 5, "cuda:0", {"a": [1]}, "toy", False,
    ]  # fmt: skip


async def test_the_process_sees_no_setting_of_the_worker_and_has_a_temporary_folder_of_its_own(workshop, monkeypatch):
    monkeypatch.setenv("STUDIO_WORKER_HF_TOKEN", "hf_secret")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("SOMETHING_ELSE", "kept")
    body = """
        def run(self, job):
            import tempfile
            own = [name for name in os.environ if name.startswith("STUDIO_WORKER_") or name == "HF_TOKEN"]
            return say(own=own, other=os.environ["SOMETHING_ELSE"], folder=tempfile.gettempdir(), path=sys.path)
    """
    host = workshop.host(body)
    seen = await workshop.run(host)
    assert (seen["own"], seen["other"]) == ([], "kept")
    assert str(workshop.shop.folder) in seen["path"]
    assert os.path.isdir(seen["folder"])
    await host.aclose()
    assert not os.path.exists(seen["folder"])


async def test_threads_are_the_jobs_share_of_the_cores_unless_the_operator_says_otherwise(
    workshop, monkeypatch, tmp_path, model_files
):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("MKL_NUM_THREADS", "3")
    body = """
        def run(self, job):
            env = os.environ
            return say(threads=job.options.threads, omp=env["OMP_NUM_THREADS"], mkl=env["MKL_NUM_THREADS"])
    """
    host = workshop.host(body, slots=lambda: 1_000)
    assert await workshop.run(host) == {"object": "chat.completion", "threads": 1, "omp": "1", "mkl": "3"}
    many = model_files(tmp_path, "m.bin", threads=100_000)
    assert 1 <= (await workshop.run(host, model=many))["threads"] <= os.cpu_count()


async def test_more_jobs_at_once_share_the_cores_from_the_next_job_and_the_next_process_on(workshop, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("studio_worker.engines.host.usable_cores", lambda: 8)
    slots = 1
    body = "def run(self, job): return say(threads=job.options.threads, omp=os.environ['OMP_NUM_THREADS'])"
    host = workshop.host(body, slots=lambda: slots)
    assert (await workshop.run(host))["threads"] == 8
    slots = 2
    seen = await workshop.run(host)
    assert (seen["threads"], seen["omp"]) == (4, "8")
    assert await within(host.unload(host.descriptions[0].key))
    assert (await workshop.run(host))["omp"] == "4"


# models


async def test_a_model_stays_loaded_by_files_and_options(workshop, tmp_path, model_files):
    host = workshop.host(COUNTING)
    one, two = model_files(tmp_path, "one.bin", context_size=1), model_files(tmp_path, "one.bin", context_size=2)
    seen = [await workshop.run(host, model=model) for model in (one, one, two, two, one)]
    assert [(each["loads"], each["size"]) for each in seen] == [(1, 1), (1, 1), (2, 2), (2, 2), (3, 1)]
    assert len({each["pid"] for each in seen}) == 1


async def test_an_engine_says_what_a_model_takes(workshop, tmp_path, model_files):
    host = workshop.host(
        """
        def estimate(self, model):
            return Estimate(ram_bytes=model.files["model"][0].stat().st_size, vram_bytes=5)
        """
    )
    call = workshop.call(host)
    model = model_files(tmp_path, "m.bin", b"12345678")
    assert await within(host.estimate(call.route, model)) == Estimate(8, 5)
    assert await workshop.pid(host) > 0


@pytest.mark.parametrize("answer", ["None", "1 / 0", "Estimate('x', 0)", "sys.exit(3)"])
async def test_an_engine_that_cannot_say_what_a_model_takes_says_nothing(answer, workshop):
    host = workshop.host(f"def estimate(self, model): return {answer}")
    assert await within(host.estimate(workshop.call(host).route, ModelFiles("m"))) is None


async def test_an_engine_that_dies_over_an_estimate_has_not_said_and_its_death_is_told(workshop):
    host = workshop.host("def estimate(self, model): os._exit(4)")
    with pytest.raises(EngineError, match="ended before it had said"):
        await within(host.estimate(workshop.call(host).route, ModelFiles("m")))
    assert workshop.deaths == [
        (host.descriptions[0].key, None, "it ended the process with exit status 4"),
    ]


async def test_an_engine_that_thinks_for_too_long_over_an_estimate_has_not_said(workshop, monkeypatch):
    host = workshop.host("def estimate(self, model): time.sleep(60)")
    pid = await workshop.pid(host)
    monkeypatch.setattr("studio_worker.engines.process_runner.ESTIMATE_SECS", 0.05)
    with pytest.raises(EngineError, match=r"engine 'toy' did not say within 0\.05 s"):
        await within(host.estimate(workshop.call(host).route, ModelFiles("m")))
    assert await workshop.pid(host) == pid


async def test_a_question_does_not_keep_a_process_whose_memory_is_needed(workshop, tmp_path, until):
    asked = tmp_path / "asked"
    host = workshop.host(
        f"""
        def estimate(self, model):
            Path({str(asked)!r}).touch()
            time.sleep(60)
        """
    )
    pid = await workshop.pid(host)
    asking = asyncio.create_task(host.estimate(workshop.call(host).route, ModelFiles("m")))
    await until(asked.exists)
    assert await within(host.unload(host.descriptions[0].key))
    assert not psutil.pid_exists(pid)
    with pytest.raises(EngineError, match="ended before it had said"):
        await within(asking)


async def test_an_estimate_does_not_wait_for_a_run(workshop, tmp_path, until):
    started, release = tmp_path / "started", tmp_path / "release"
    host = workshop.host(
        f"""
        def estimate(self, model): return Estimate(1, 2)

        def run(self, job):
            Path({str(started)!r}).touch()
            while not Path({str(release)!r}).exists(): time.sleep(0.002)
            return say()
        """
    )
    call = workshop.call(host)
    running = asyncio.create_task(host.run(call))
    await until(started.exists)
    assert await within(host.estimate(call.route, ModelFiles("m"))) == Estimate(1, 2)
    assert not running.done()
    release.touch()
    await within(running)


# how many at once


@pytest.mark.parametrize("seats", [1, 3])
async def test_at_most_concurrency_jobs_run_at_once_in_one_process(seats, workshop):
    body = f"""
        now = most = 0
        lock, full = threading.Lock(), threading.Barrier({seats})

        def run(self, job):
            with self.lock:
                Mine.now += 1
                Mine.most = max(Mine.most, Mine.now)
            self.full.wait(30)
            with self.lock:
                Mine.now -= 1
            return say(most=Mine.most, pid=os.getpid())
    """
    host = workshop.host(body, concurrency=seats)
    seen = await asyncio.gather(*(workshop.run(host) for _ in range(seats * 3)))
    assert max(each["most"] for each in seen) == seats
    assert len({each["pid"] for each in seen}) == 1
