"""Engines with processes of their own: where their jobs run, what they see, when the process comes and goes."""

import asyncio
import os
import sys

import psutil
import pytest

from studio_worker.engines.base import Estimate, ImageResult, LlmResult, TranscriptResult
from studio_worker.engines.output import MAX_RESULT_BYTES
from studio_worker.errors import BadInput, EngineError, JobCancelled, OutOfMemory, UnsupportedTask
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


async def fails(workshop, body, **options) -> EngineError:
    host = workshop.host(body, **options)
    with pytest.raises((EngineError, UnsupportedTask, BadInput, JobCancelled)) as caught:
        await workshop.run(host)
    return caught.value


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
    host = bench.host("plugin_toy:pair")
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
        {"model": [str(tmp_path / "m.bin")]}, 5, "cuda:1", {"a": [1]}, "toy", False,
    ]  # fmt: skip


async def test_the_process_sees_no_setting_of_the_worker_and_has_a_temporary_folder_of_its_own(workshop, monkeypatch):
    monkeypatch.setenv("STUDIO_WORKER_HF_TOKEN", "hf_secret")
    monkeypatch.setenv("SOMETHING_ELSE", "kept")
    body = """
        def run(self, job):
            import tempfile
            own = [name for name in os.environ if name.startswith("STUDIO_WORKER_")]
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
    host = workshop.host(body, slots=1_000)
    assert await workshop.run(host) == {"object": "chat.completion", "threads": 1, "omp": "1", "mkl": "3"}
    many = model_files(tmp_path, "m.bin", threads=100_000)
    assert 1 <= (await workshop.run(host, model=many))["threads"] <= os.cpu_count()


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


async def test_an_engine_that_dies_over_an_estimate_says_nothing_and_its_death_is_told(workshop):
    host = workshop.host("def estimate(self, model): os._exit(4)")
    assert await within(host.estimate(workshop.call(host).route, ModelFiles("m"))) is None
    assert workshop.deaths == [
        (host.descriptions[0].key, None, "it ended the process with exit status 4"),
    ]


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


# results and errors


@pytest.mark.parametrize("size", [1, 65_536, 65_537, 3_000_000])
async def test_bytes_come_back_and_large_ones_by_file(size, workshop):
    host = workshop.host(f"def run(self, job): return ImageResult(bytes({size}), 'png')", kind=TaskKind.IMAGE)
    call = workshop.call(host)
    result = (await within(host.run(call))).result
    if size > 65_536:
        assert result.data.is_relative_to(call.work_dir.resolve())
        assert result.data.read_bytes() == bytes(size)
    else:
        assert result == ImageResult(bytes(size), "png")
        assert list(call.work_dir.iterdir()) == []


async def test_a_file_comes_back_as_a_path(workshop):
    body = """
        def run(self, job):
            (job.work_dir / "out.png").write_bytes(b"pixels")
            return ImageResult(job.work_dir / "out.png", "png")
    """
    host = workshop.host(body, kind=TaskKind.IMAGE)
    call = workshop.call(host)
    assert (await within(host.run(call))).result == ImageResult((call.work_dir / "out.png").resolve(), "png")


@pytest.mark.parametrize("count", [1, 50_000])
async def test_json_comes_back_also_where_it_is_long(count, workshop):
    body = f"def run(self, job): return say(words=['wört'] * {count}, nothing=None)"
    assert await workshop.run(workshop.host(body)) == {
        "object": "chat.completion", "words": ["wört"] * count, "nothing": None,
    }  # fmt: skip


async def test_a_transcript_comes_back(workshop):
    host = workshop.host(
        """
        def run(self, job):
            from studio_worker import TranscriptResult
            return TranscriptResult({"text": "hello"})
        """,
        kind=TaskKind.AUDIO_STT,
    )
    assert await workshop.run(host) == TranscriptResult({"text": "hello"})


async def test_meta_comes_back(workshop):
    host = workshop.host("def run(self, job): job.meta.update(steps=3); return say()")
    assert (await within(host.run(workshop.call(host)))).meta == {"steps": 3}


@pytest.mark.parametrize(
    ("raises", "kind", "words", "retryable"),
    [
        ("UnsupportedTask('no masks here')", UnsupportedTask, "no masks here", False),
        ("BadInput('not a wav')", BadInput, "not a wav", False),
        ("EngineError('weights are damaged', retryable=False)", EngineError, "weights are damaged", False),
        ("EngineError('busy')", EngineError, "busy", True),
        ("OutOfMemory('8 GB are not enough')", OutOfMemory, "8 GB are not enough", True),
        ("MemoryError()", OutOfMemory, "engine 'toy' ran out of memory: MemoryError", True),
        ("ValueError('odd size')", EngineError, "engine 'toy' failed: ValueError: odd size", True),
        ("SystemExit(0)", EngineError, "engine 'toy' failed: SystemExit: 0", True),
        ("KeyboardInterrupt()", EngineError, "engine 'toy' failed: KeyboardInterrupt", True),
        ("StopIteration(3)", EngineError, "engine 'toy' failed: StopIteration: 3", True),
        ("ValueError('a\\x1b[2J')", EngineError, "engine 'toy' failed: ValueError: a\\x1b[2J", True),
    ],
)
async def test_an_engines_errors_keep_their_kind_and_their_words(raises, kind, words, retryable, workshop):
    caught = await fails(workshop, f"def run(self, job): raise {raises}")
    assert (type(caught), str(caught), caught.retryable) == (kind, words, retryable)
    assert workshop.deaths == []


async def test_a_job_that_failed_leaves_its_process_alone(workshop):
    host = workshop.host("def run(self, job): return say(pid=os.getpid()) if words(job) == 'hello' else 1 / 0")
    pid = await workshop.pid(host)
    with pytest.raises(EngineError):
        await workshop.run(host, "fail")
    assert await workshop.pid(host) == pid


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ("'text'", "engine 'toy' returned str, an LlmResult is needed"),
        ("None", "engine 'toy' returned None, an LlmResult is needed"),
        ("ImageResult(b'x', 'png')", "engine 'toy' returned ImageResult, an LlmResult is needed"),
        ("LlmResult({'n': float('nan')})", "engine 'toy' returned JSON that cannot be sent"),
        ("LlmResult({1: 2})", "engine 'toy' returned JSON that cannot be sent"),
    ],
)
async def test_a_result_of_the_wrong_shape_is_named(result, words, workshop):
    caught = await fails(workshop, f"def run(self, job): return {result}")
    assert str(caught).startswith(words)
    assert caught.retryable


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ("ImageResult(b'', 'png')", "returned 0 bytes"),
        ("ImageResult(b'x', 'exe')", "with ext 'exe'"),
        ("ImageResult(Path('/etc/passwd'), 'png')", "outside the job's work_dir"),
        ("ImageResult(job.work_dir / 'none.png', 'png')", "cannot be found"),
        (f"ImageResult(sparse(job.work_dir / 'big.png', {MAX_RESULT_BYTES + 1}), 'png')", "at most"),
    ],
)
async def test_a_file_is_looked_at_before_it_is_believed(result, words, workshop):
    module = """
        def sparse(path, size):
            path.touch()
            os.truncate(path, size)
            return path
    """
    caught = await fails(workshop, f"def run(self, job): return {result}", kind=TaskKind.IMAGE, module=module)
    assert words in str(caught)


async def test_an_async_run_is_told_that_it_needs_the_loop(workshop):
    caught = await fails(workshop, "async def run(self, job): return say()")
    assert str(caught) == "engine 'toy' has an async run, which needs isolation 'loop'"
    assert not caught.retryable


async def test_meta_too_large_for_a_message_fails_the_job_alone(workshop):
    caught = await fails(workshop, "def run(self, job): job.meta.update(x='y' * 17_000_000); return say()")
    assert "returned too much" in str(caught)
    assert workshop.deaths == []


async def test_an_engine_that_cannot_be_built_fails_each_job_by_its_reason_and_is_no_death(workshop):
    host = workshop.host(module="\nraise ImportError('no libfoo')\n")
    for _ in range(2):
        with pytest.raises(EngineError, match="engine 'toy' failed: ImportError: no libfoo"):
            await workshop.run(host)
    assert workshop.deaths == []


async def test_a_process_that_cannot_be_started_fails_the_job(workshop, monkeypatch):
    host = workshop.host()
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    with pytest.raises(EngineError, match="could not be started") as caught:
        await workshop.run(host)
    assert caught.value.retryable


# when the process goes


async def test_a_process_without_jobs_ends_after_a_while_and_comes_again(workshop, until):
    host = workshop.host(engine_idle_secs=0.05)
    pid = await workshop.pid(host)
    await until(lambda: not psutil.pid_exists(pid))
    assert await workshop.pid(host) != pid
    assert workshop.deaths == []


async def test_a_process_at_work_is_not_idle(workshop):
    host = workshop.host(
        "def run(self, job):\n    time.sleep(0.3)\n    return say(pid=os.getpid())",
        engine_idle_secs=0.01,
        concurrency=2,
    )
    seen = await asyncio.gather(workshop.run(host), workshop.run(host))
    assert seen[0]["pid"] == seen[1]["pid"]


async def test_an_engine_unloads_before_its_idle_process_ends(workshop, tmp_path, model_files, until):
    mark = tmp_path / "unloaded"
    host = workshop.host(
        f"def load(self, model): return 5\n\ndef unload(self, loaded): Path({str(mark)!r}).write_text(str(loaded))",
        engine_idle_secs=0.05,
    )
    await workshop.run(host, model=model_files(tmp_path, "m.bin"))
    await until(mark.exists)
    assert mark.read_text() == "5"


async def test_unloading_ends_a_process_without_jobs_with_all_that_it_started(workshop):
    body = """
        def run(self, job):
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
            return say(pids=[os.getpid(), child.pid])
    """
    host = workshop.host(body)
    pids = (await workshop.run(host))["pids"]
    assert await within(host.unload(host.descriptions[0].key))
    assert [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"] == []
    assert workshop.deaths == []


async def test_unloading_leaves_a_process_at_work_alone(workshop, tmp_path, until):
    started, release = tmp_path / "started", tmp_path / "release"
    host = workshop.host(
        f"""
        def run(self, job):
            Path({str(started)!r}).touch()
            while not Path({str(release)!r}).exists(): time.sleep(0.002)
            return say()
        """
    )
    running = asyncio.create_task(workshop.run(host))
    await until(started.exists)
    assert not await within(host.unload(host.descriptions[0].key))
    release.touch()
    await within(running)


async def test_stopping_ends_a_process_at_work_and_its_job_can_be_tried_again(workshop, tmp_path, until):
    started = tmp_path / "started"
    host = workshop.host(f"def run(self, job): Path({str(started)!r}).touch(); time.sleep(600)")
    running = asyncio.create_task(workshop.run(host))
    await until(started.exists)
    assert await within(host.stop(host.descriptions[0].key))
    with pytest.raises(EngineError, match="it was stopped to free its memory") as caught:
        await within(running)
    assert caught.value.retryable
    assert workshop.deaths == []


async def test_an_engine_that_never_ran_holds_nothing(workshop):
    host = workshop.host()
    key = host.descriptions[0].key
    assert await within(host.unload(key))
    assert await within(host.stop(key))


async def test_a_host_that_is_closed_leaves_no_process(workshop):
    host = workshop.host()
    pid = await workshop.pid(host)
    await within(host.aclose())
    assert not psutil.pid_exists(pid)
    assert workshop.deaths == []
    assert await host.estimate(workshop.call(host).route, ModelFiles("m")) is None


async def test_a_child_started_from_a_thread_that_ends_lives_on(workshop):
    """The trap of PR_SET_PDEATHSIG: it follows the thread that started the child."""

    def in_a_thread() -> list[int]:
        async def twice() -> list[int]:
            host = workshop.host()
            await host.start()
            pid = await workshop.pid(host)
            waiting = asyncio.to_thread(psutil.Process(pid).is_running)
            assert await waiting
            found = [pid, await workshop.pid(host)]
            await host.aclose()
            return found

        return asyncio.run(twice())

    one, two = await asyncio.to_thread(in_a_thread)
    assert one == two


async def test_a_loop_that_ends_without_a_word_leaves_no_process(workshop, until):
    async def begin() -> int:
        return await workshop.pid(workshop.host())

    pid = await asyncio.to_thread(asyncio.run, begin())
    workshop.bench.hosts.clear()
    await until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie")


async def test_the_answer_of_a_job_is_an_llm_result(workshop):
    host = workshop.host()
    assert isinstance((await within(host.run(workshop.call(host)))).result, LlmResult)
