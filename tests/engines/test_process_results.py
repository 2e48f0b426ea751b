"""What comes back from an engine's process: results, notes and errors."""

import asyncio
import sys

import pytest

from studio_worker.engines.base import ImageResult, TranscriptResult
from studio_worker.engines.output import MAX_RESULT_BYTES
from studio_worker.errors import BadInput, EngineError, JobCancelled, OutOfMemory, UnsupportedTask
from studio_worker.wire.kinds import TaskKind

WAIT_SECS = 30.0
"""An upper bound for what is awaited; nothing here takes that long."""


async def within(awaitable):
    return await asyncio.wait_for(awaitable, WAIT_SECS)


async def fails(workshop, body, **options) -> EngineError:
    host = workshop.host(body, **options)
    with pytest.raises((EngineError, UnsupportedTask, BadInput, JobCancelled)) as caught:
        await workshop.run(host)
    return caught.value


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
