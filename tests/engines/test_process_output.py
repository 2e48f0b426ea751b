"""What an engine in a process says beside its result: progress, pieces of a stream, log lines, prints."""

import asyncio
import time

import pytest

from studio_worker.engines.base import AudioChunk, AudioResult, TextDelta
from studio_worker.engines.captured import MAX_LINES_A_SECOND
from studio_worker.engines.child_process import OUTPUT, WINDOW_BYTES, ChildProcess
from studio_worker.errors import EngineError, JobCancelled
from studio_worker.wire.kinds import TaskKind

WAIT_SECS = 30.0
"""An upper bound for what is awaited; nothing here takes that long."""


async def within(awaitable):
    return await asyncio.wait_for(awaitable, WAIT_SECS)


def printed(log_lines):
    return [line["line"] for line in log_lines if line.get("event") == "engine.output"]


# progress


async def test_progress_and_previews_arrive_in_order_and_the_last_before_the_result(workshop):
    host = workshop.host("def run(self, job): job.progress(1, 2, stage='paint', preview=b'jpeg'); return say()")
    await workshop.run(host)
    assert workshop.bench.progress == [(1, 2, "paint", b"jpeg")]


async def test_a_flood_of_reports_arrives_as_a_few(workshop):
    body = "def run(self, job):\n    for step in range(200_000): job.progress(step + 1, 200_000)\n    return say()"
    await workshop.run(workshop.host(body))
    assert workshop.bench.progress[-1][:2] == (200_000, 200_000)
    assert len(workshop.bench.progress) < 100


async def test_reports_that_are_none_are_made_sane(workshop):
    body = """
        def run(self, job):
            job.progress(None, "x")
            job.progress(-1, 0, stage="a\\x1b[2J", preview=bytes(50_000_000))
            return say()
    """
    await workshop.run(workshop.host(body))
    assert workshop.bench.progress == [(0, 1, "a\\x1b[2J", None)]


async def test_progress_after_the_end_and_a_second_result_are_ignored_and_logged_once(workshop, log_lines):
    body = """
        def run(self, job):
            if words(job) == "again":
                self.last.progress(1, 2)
                time.sleep(0.2)
                self.last._on_progress.func.__self__.send(self.second)
                self.last._on_progress.func.__self__.send(self.second)
                return say(n=2)
            from studio_worker.engines.messages import Done
            self.last, self.second = job, Done(job._on_progress.args[0], {"kind": "llm", "json": "{}"}, {})
            return say(n=1)
    """
    host = workshop.host(body)
    assert (await workshop.run(host))["n"] == 1
    assert (await workshop.run(host, "again"))["n"] == 2
    assert workshop.bench.progress == []
    assert len([line for line in log_lines if line.get("event") == "engine.late"]) == 1
    assert workshop.deaths == []


# streams

STREAM = """
def run(self, job): return say(text="whole")

def stream(self, job):
    for word in ["a", "b", "c"]:
        yield TextDelta(word, reasoning="why")
    yield say(text="streamed")
"""


async def test_pieces_of_an_answer_arrive_in_order_before_the_result(workshop):
    pieces = []
    host = workshop.host(STREAM)
    assert (await workshop.run(host, on_chunk=pieces.append))["text"] == "streamed"
    assert pieces == [TextDelta(word, "why") for word in "abc"]


async def test_an_engine_that_can_stream_runs_where_nobody_wants_pieces(workshop):
    assert (await workshop.run(workshop.host(STREAM)))["text"] == "whole"


async def test_an_engine_that_cannot_stream_gives_the_result_alone(workshop):
    pieces = []
    assert await workshop.run(workshop.host("def run(self, job): return say(n=1)"), on_chunk=pieces.append)
    assert pieces == []


async def test_sound_is_cut_into_pieces_that_fit_a_message(workshop):
    pieces = []
    body = """
        def stream(self, job):
            yield AudioChunk(bytes(20_000_000), 22_050)
            yield AudioResult(b"x", "wav")
    """
    host = workshop.host(body, kind=TaskKind.AUDIO_TTS)
    call = workshop.call(host, on_chunk=pieces.append)
    assert (await within(host.run(call))).result == AudioResult(b"x", "wav")
    assert {type(piece) for piece in pieces} == {AudioChunk}
    assert b"".join(piece.pcm for piece in pieces) == bytes(20_000_000)
    assert {piece.rate for piece in pieces} == {22_050}


async def test_a_stream_without_a_result_fails_its_job(workshop):
    host = workshop.host("def stream(self, job):\n    yield TextDelta('a')")
    with pytest.raises(EngineError, match="returned None"):
        await workshop.run(host, on_chunk=lambda piece: None)


async def test_a_piece_that_utf_8_cannot_carry_is_mended(workshop):
    pieces = []
    host = workshop.host("def stream(self, job):\n    yield TextDelta('a\\ud800')\n    yield say()")
    await workshop.run(host, on_chunk=pieces.append)
    assert pieces == [TextDelta("a?")]


async def test_a_stream_stops_between_pieces_when_its_job_is_cancelled(workshop):
    host = workshop.host(
        "def stream(self, job):\n    while True:\n        yield TextDelta('a')\n        time.sleep(0.002)"
    )
    seen = asyncio.Event()
    call = workshop.call(host, on_chunk=lambda piece: seen.set())
    task = asyncio.create_task(host.run(call))
    await within(seen.wait())
    task.cancel()
    with pytest.raises((asyncio.CancelledError, JobCancelled)):
        await within(task)
    await within(host.settled(call.job_id))
    assert workshop.deaths == []


# log lines


async def test_an_engines_log_lines_arrive_with_level_job_and_fields(workshop, log_lines):
    host = workshop.host("def run(self, job): job.log.bind(voice='joe').warning('odd \\x1b[2J'); return say()")
    call = workshop.call(host)
    await within(host.run(call))
    (line,) = [line for line in log_lines if line.get("event") == "engine.log"]
    assert (line["level"], line["said"], line["voice"]) == ("WARNING", "odd \\x1b[2J", "joe")
    assert (line["job_id"], line["engine"]) == (call.job_id, "toy")
    assert line["message"] == "An engine says"


async def test_the_traceback_of_a_failed_job_is_logged_at_debug(workshop, log_lines):
    with pytest.raises(EngineError):
        await workshop.run(workshop.host("def run(self, job): raise ValueError('odd size')"))
    (line,) = [line for line in log_lines if "traceback" in line]
    assert line["level"] == "DEBUG"
    assert "ValueError: odd size" in line["traceback"]


# what libraries print


async def test_what_is_printed_becomes_lines_of_the_job_at_debug(workshop, log_lines):
    body = """
        def run(self, job):
            print("from python")
            os.write(1, b"raw\\x1b[31m\\n")
            os.write(2, b"10%\\r50%\\r100%\\nlast")
            sys.stdin.read()
            return say()
    """
    host = workshop.host(body)
    call = workshop.call(host)
    await within(host.run(call))
    await within(host.aclose())
    assert printed(log_lines) == ["from python", "raw\\x1b[31m", "100%", "last"]
    lines = [line for line in log_lines if line.get("event") == "engine.output"]
    assert {(line["level"], line["job_id"], line["engine"]) for line in lines} == {("DEBUG", call.job_id, "toy")}


async def test_a_flood_without_a_newline_is_cut_and_keeps_the_loop_free(workshop, log_lines):
    body = """
        def run(self, job):
            block = b"x" * 65_536
            for _ in range(1_600): os.write(2, block)
            os.write(2, b"\\nthe end\\n")
            return say()
    """
    host = workshop.host(body)
    ticks, longest = 0, 0.0

    async def tick():
        nonlocal ticks, longest
        last = time.monotonic()
        while True:
            await asyncio.sleep(0.01)
            longest, last = max(longest, time.monotonic() - last), time.monotonic()
            ticks += 1

    ticking = asyncio.create_task(tick())
    await workshop.run(host)
    ticking.cancel()
    await within(host.aclose())
    assert printed(log_lines) == ["x" * 2_000 + " … (cut)", "the end"]
    # A heartbeat goes every five seconds.
    assert (ticks > 10, longest < 2.0) == (True, True)


async def test_a_flood_of_lines_is_counted(workshop, log_lines):
    body = "def run(self, job):\n    for n in range(300_000): os.write(2, b'line\\n')\n    return say()"
    host = workshop.host(body)
    await workshop.run(host)
    await within(host.aclose())
    lines = printed(log_lines)
    assert any("lines left out" in line for line in lines)
    assert len(lines) < 30 * MAX_LINES_A_SECOND


async def test_a_flood_is_read_a_window_at_a_time(workshop, monkeypatch):
    pauses = []
    pause = ChildProcess._pause
    monkeypatch.setattr(ChildProcess, "_pause", lambda self, fd: (pauses.append(self._read[fd]), pause(self, fd)))
    size = 3 * WINDOW_BYTES[OUTPUT]
    await workshop.run(workshop.host(f"def run(self, job):\n    os.write(1, bytes({size}))\n    return say()"))
    assert len(pauses) >= 2
    assert min(pauses) > WINDOW_BYTES[OUTPUT]
