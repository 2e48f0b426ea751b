"""One job from its ticket to its end."""

import asyncio
import base64
import io
import threading

import pytest
from PIL import Image

from studio_worker.engines.base import Engine, EngineCapabilities, ImageResult, LlmResult
from studio_worker.errors import BadInput, EngineError, OutOfMemory
from studio_worker.events import JobDelivered, JobFailed, JobProgress
from studio_worker.jobs import checks
from studio_worker.jobs.execution import MAX_META_CHARS
from studio_worker.jobs.picture_checks import began_black
from studio_worker.testing.claims import silence_url
from studio_worker.wire.kinds import TaskKind


def data_url(picture, fmt="PNG", **options):
    out = io.BytesIO()
    picture.save(out, fmt, **options)
    return f"data:image/{fmt.lower()};base64,{base64.b64encode(out.getvalue()).decode()}"


def raises(error):
    async def behaviour(job):
        raise error

    return behaviour


class TestAFailure:
    @pytest.mark.parametrize(
        ("error", "retryable"),
        [
            (EngineError("the engine broke"), True),
            (EngineError("never", retryable=False), False),
            (OutOfMemory("too large"), True),
            (BadInput("no picture"), False),
            (ValueError("what is this"), True),
        ],
    )
    async def test_of_the_engine_is_told_in_one_frame(self, room, wire, claim, error, retryable):
        room.engine.behaviour = raises(error)
        room.offer(wire, claim())
        failure = await wire.until("fail")
        assert str(error) in failure.error
        assert failure.retryable is retryable
        assert wire.types == ["accept", "fail"]

    async def test_is_told_to_events_and_to_the_studios_log(self, room, wire, claim):
        room.engine.behaviour = raises(EngineError("the engine broke"))
        room.offer(wire, claim())
        failed = await room.events.until(JobFailed)
        assert (failed.job_id, failed.retryable) == ("job-1", True)
        assert room.events.lines[-1][0] == "error"
        assert "the engine broke" in room.events.lines[-1][1]

    async def test_on_a_dead_link_is_not_sent(self, room, wire, claim):
        room.engine.gate.clear()
        room.engine.behaviour = raises(EngineError("the engine broke"))
        room.offer(wire, claim())
        await room.engine.started()
        wire.cut()
        room.engine.gate.set()
        await room.events.until(JobFailed)
        assert wire.types == ["accept"]

    async def test_of_an_adopted_job_goes_to_its_new_link(self, room, wire, make_wire, claim):
        room.engine.gate.clear()
        room.engine.behaviour = raises(EngineError("the engine broke"))
        room.offer(wire, claim())
        await room.engine.started()
        wire.cut()
        second = make_wire()
        room.offer(second, claim())
        room.engine.gate.set()
        await second.until("fail")
        assert second.types == ["accept", "fail"]

    async def test_leaves_nothing_owed_and_the_seat_free(self, room, wire, claim):
        room.engine.behaviour = raises(EngineError("the engine broke"))
        room.offer(wire, claim())
        await wire.until("fail")
        await room.desk.drained()
        assert room.journal.owed == ()
        room.engine.behaviour = None
        room.offer(wire, claim(job_id="job-2"))
        await wire.until("completeJson", "job-2")

    async def test_of_our_own_files_may_be_retried(self, room, wire, claim):
        (room.state_dir / "work").rmdir()
        (room.state_dir / "work").write_bytes(b"in the way")
        room.offer(wire, claim("image"))
        failure = await wire.until("fail")
        assert failure.retryable is True
        assert "own files" in failure.error
        (room.state_dir / "work").unlink()

    async def test_of_our_bookkeeping_ends_this_job_and_no_other(self, room, wire, claim):
        async def broken(entry, artifact):
            raise ZeroDivisionError("a flaw")

        room.journal.keep = broken
        room.offer(wire, claim())
        failure = await wire.until("fail")
        assert failure.retryable is True
        assert "ZeroDivisionError" in failure.error
        del room.journal.keep
        await room.desk.drained()
        room.offer(wire, claim(job_id="job-2"))
        await wire.until("completeJson", "job-2")

    async def test_in_the_midst_of_a_report_frees_the_seat_and_says_no_second_word(self, room, wire, claim):
        def broken(*args):
            raise ZeroDivisionError("a flaw")

        room.engine.behaviour = raises(EngineError("the engine broke"))
        room.journal.drop = broken
        room.offer(wire, claim())
        await room.desk.drained()
        del room.journal.drop
        room.engine.behaviour = None
        for _ in range(10):
            await asyncio.sleep(0)
        room.offer(wire, claim(job_id="job-2"))
        await wire.until("completeJson", "job-2")
        assert not wire.of("fail")


class TestAResult:
    async def test_that_does_not_pass_its_check_is_never_uploaded(self, room, wire, claim):
        async def broken(job):
            return ImageResult(b"\x89PNG\r\n\x1a\n broken", "png")

        room.engine.behaviour = broken
        room.offer(wire, claim("image"))
        failure = await wire.until("fail")
        assert "does-not-decode" in failure.error
        assert failure.retryable is True
        assert room.uploads.seen == []

    async def test_of_the_wrong_shape_is_not_sent(self, room, wire, claim):
        async def broken(job):
            return LlmResult({"hello": "world"})

        room.engine.behaviour = broken
        room.offer(wire, claim())
        assert "wrong-shape" in (await wire.until("fail")).error

    async def test_carries_what_it_was_made_with(self, room, wire, claim, result_of):
        async def noted(job):
            job.meta.update(steps=4, seed="overridden")
            return result_of(job)

        room.engine.behaviour = noted
        room.offer(wire, claim("image", task={"seed": 42}))
        meta = (await room.uploads.started()).artifact.meta
        assert (meta["seed"], meta["engine"], meta["model"], meta["steps"]) == (42, "gate", "gate-image", 4)
        assert meta["seconds"] >= 0

    async def test_in_a_file_outlives_the_jobs_folder(self, room, wire, claim, make_picture):
        async def into_file(job):
            file = job.work_dir / "out.png"
            file.write_bytes(make_picture())
            return ImageResult(file, "png")

        room.engine.behaviour = into_file
        room.uploads.gate.clear()
        room.offer(wire, claim("image"))
        kept = await room.uploads.started()
        assert kept.file.read_bytes() == make_picture()
        room.uploads.gate.set()
        await room.events.until(JobDelivered)


class TestTheEnginesJob:
    async def test_has_its_seed_options_and_a_folder(self, room, wire, claim, result_of):
        seen = {}

        async def look(job):
            seen.update(exists=job.work_dir.is_dir(), seed=job.seed, options=job.options, source=job.source)
            return result_of(job)

        room.settings.device_of = lambda plugin: "cpu"
        room.engine.behaviour = look
        source = {"engine": "gate", "files": [], "cliDefaults": {"contextSize": 2048}}
        room.offer(wire, claim(modelSource=source))
        await wire.until("completeJson")
        assert seen["exists"]
        assert 0 <= seen["seed"] < 2**63
        assert (seen["options"].context_size, seen["options"].device) == (2048, "cpu")
        assert seen["source"].engine == "gate"

    async def test_finds_its_inputs_fetched(self, room, wire, claim, result_of):
        seen = {}

        async def look(job):
            seen["head"] = job.inputs["audio"].read_bytes()[:4]
            return result_of(job)

        room.engine.behaviour = look
        room.offer(wire, claim("audio_stt", task={"inputUrl": silence_url()}))
        await wire.until("completeJson")
        assert seen["head"] == b"RIFF"

    async def test_is_never_run_where_an_input_is_refused(self, room, wire, claim):
        room.offer(wire, claim("image", task={"initImageUrl": "http://127.0.0.1/a.png"}))
        failure = await wire.until("fail")
        assert "task.initImageUrl" in failure.error
        assert failure.retryable is False
        assert room.engine.runs == 0

    async def test_finds_its_pictures_upright_and_of_eight_bits(self, room, wire, claim, result_of):
        seen = {}

        async def look(job):
            with Image.open(job.inputs["image"]) as picture:
                seen["image"] = (picture.format, picture.mode, picture.size)
            return result_of(job)

        room.engine.behaviour = look
        exif = Image.Exif()
        exif[0x0112] = 6
        room.offer(wire, claim("image", task={"initImageUrl": data_url(Image.new("CMYK", (8, 6)), "JPEG", exif=exif)}))
        await room.events.until(JobDelivered)
        assert seen["image"] == ("PNG", "RGB", (6, 8))

    async def test_is_never_run_on_a_picture_that_is_none(self, room, wire, claim):
        moving = data_url(Image.new("RGB", (8, 8)), save_all=True, append_images=[Image.new("RGB", (8, 8), "red")])
        room.offer(wire, claim("image", task={"refImageUrl": moving}))
        failure = await wire.until("fail")
        assert failure.error.startswith("task.refImageUrl: an animated PNG picture; send a single frame")
        assert failure.retryable is False
        assert room.engine.runs == 0

    async def test_is_never_run_where_a_mask_does_not_cover_its_picture(self, room, wire, claim):
        mask, picture = data_url(Image.new("L", (8, 6))), data_url(Image.new("RGB", (6, 8)))
        room.offer(wire, claim("image", task={"initImageUrl": picture, "maskUrl": mask}))
        assert "task.maskUrl: the mask has 8 x 6 pixels" in (await wire.until("fail")).error
        assert room.engine.runs == 0

    async def test_may_give_back_black_for_a_black_picture_alone(self, room, wire, claim, make_picture):
        async def black(job):
            out = io.BytesIO()
            Image.new("RGB", (8, 8)).save(out, "PNG")
            return ImageResult(out.getvalue(), "png")

        room.engine.behaviour = black
        room.offer(wire, claim("image", task={"initImageUrl": data_url(Image.new("RGB", (8, 8)))}))
        await room.events.until(JobDelivered)
        room.offer(wire, claim("image", job_id="job-2", task={"initImageUrl": data_url(Image.new("L", (8, 8), 90))}))
        failure = await wire.until("fail", "job-2")
        assert failure.error.endswith("(rule: black)")
        assert failure.retryable is True
        assert [kept.entry.job_id for kept in room.uploads.seen] == ["job-1"]

    async def test_has_its_input_held_against_a_black_result_off_the_loop(self, room, wire, claim, monkeypatch):
        threads = []

        def looked(inputs):
            threads.append(threading.current_thread())
            return began_black(inputs)

        async def black(job):
            out = io.BytesIO()
            Image.new("RGB", (8, 8)).save(out, "PNG")
            return ImageResult(out.getvalue(), "png")

        monkeypatch.setattr(checks, "began_black", looked)
        room.engine.behaviour = black
        room.offer(wire, claim("image", task={"initImageUrl": data_url(Image.new("RGB", (8, 8)))}))
        await room.events.until(JobDelivered)
        assert threads
        assert threading.current_thread() not in threads

    async def test_is_never_run_where_a_model_file_is_missing(self, room, wire, claim):
        files = [{"role": "model", "url": "https://x.example/m.gguf", "filename": "m.gguf"}]
        source = {"engine": "gate", "files": files, "cliDefaults": {}}
        room.offer(wire, claim(modelSource=source))
        assert "m.gguf" in (await wire.until("fail")).error
        assert room.engine.runs == 0

    async def test_that_lacks_model_and_input_is_told_of_the_first(self, room, wire, claim):
        files = [{"role": "model", "url": "https://x.example/m.gguf", "filename": "m.gguf"}]
        source = {"engine": "gate", "files": files, "cliDefaults": {}}
        room.offer(wire, claim("image", modelSource=source, task={"initImageUrl": "http://127.0.0.1/a.png"}))
        failure = await wire.until("fail")
        assert "unhandled errors" not in failure.error
        assert len(wire.of("fail")) == 1

    async def test_leaves_no_folder_behind(self, room, wire, claim, make_picture):
        async def untidy(job):
            (job.work_dir / "left").write_bytes(b"x")
            return ImageResult(make_picture(), "png")

        room.engine.behaviour = untidy
        room.offer(wire, claim("image"))
        job = await room.engine.started()
        await room.events.until(JobDelivered)
        async with asyncio.timeout(10):
            while job.work_dir.exists():
                await asyncio.sleep(0.005)

    async def test_finds_no_trace_of_the_job_before_it(self, room, wire, claim):
        async def untidy(job):
            assert list(job.work_dir.iterdir()) == []
            (job.work_dir / "left").write_bytes(b"x")
            raise EngineError("done")

        room.engine.behaviour = untidy
        for number in range(5):
            room.offer(wire, claim(job_id=f"job-{number}"))
            assert "done" in (await wire.until("fail", f"job-{number}")).error
            await room.desk.drained()
            for _ in range(5):
                await asyncio.sleep(0)


class StubbornEngine(Engine):
    """Runs in a thread and is deaf to cancelling until `release` is set."""

    name = "stubborn"
    isolation = "thread"

    def __init__(self):
        self.running = threading.Event()
        self.release = threading.Event()

    def capabilities(self):
        return EngineCapabilities({TaskKind.LLM: ["stubborn"]})

    def run(self, job):
        self.running.set()
        self.release.wait(10)
        return LlmResult({})


async def test_a_seat_is_not_free_before_a_cancelled_engine_has_let_go(open_room, tmp_path, wire, claim):
    stubborn = StubbornEngine()
    source = {"engine": "stubborn", "files": [], "cliDefaults": {}}
    async with open_room(tmp_path, engines=[stubborn]) as room:
        room.offer(wire, claim(modelSource=source))
        await asyncio.to_thread(stubborn.running.wait, 10)
        room.desk.cancel("job-1", "enough")
        await wire.until("fail")
        room.offer(wire, claim(modelSource=source))
        assert wire.types == ["accept", "fail", "reject"]
        stubborn.release.set()
        async with asyncio.timeout(10):
            while not wire.of("accept", "job-2"):
                room.offer(wire, claim(job_id="job-2"))
                await asyncio.sleep(0.005)


class TestProgress:
    async def test_goes_to_events_and_to_a_studio_that_knows_it(self, room, make_wire, claim, result_of):
        wire = make_wire("progress")

        async def step(job):
            job.progress(1, 2, stage="denoise")
            await wire.until("progress")
            return result_of(job)

        room.engine.behaviour = step
        room.offer(wire, claim())
        await wire.until("completeJson")
        frame = wire.of("progress")[0]
        assert (frame.step, frame.total, frame.stage) == (1, 2, "denoise")
        assert room.events.of(JobProgress)[0].stage == "denoise"

    async def test_is_not_sent_after_the_end(self, open_room, tmp_path, make_wire, claim):
        async with open_room(tmp_path, progress_secs=0.01) as room:
            wire = make_wire("progress")

            async def step(job):
                for number in range(50):
                    job.progress(number, 50)
                raise EngineError("the end")

            room.engine.behaviour = step
            room.offer(wire, claim())
            await wire.until("fail")
            await asyncio.sleep(0.05)
            assert wire.types[-1] == "fail"


async def test_an_engines_huge_notes_are_left_out(room, wire, claim, result_of):
    async def noted(job):
        job.meta["huge"] = "x" * (MAX_META_CHARS + 1)
        return result_of(job)

    room.engine.behaviour = noted
    room.offer(wire, claim("image"))
    meta = (await room.uploads.started()).artifact.meta
    assert set(meta) == {"seed", "engine", "model", "seconds"}
