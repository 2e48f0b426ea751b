"""Offers whose model files may not fit: what is said before anything is accepted."""

import asyncio
import os
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from studio_worker.errors import BadClaim, JobCancelled
from studio_worker.fetch.disk import DiskSpace
from studio_worker.fetch.download import Downloader, DownloadSettings
from studio_worker.fetch.guard import Guard
from studio_worker.jobs.links import LocalLink
from studio_worker.jobs.plan import LocalOrder
from studio_worker.jobs.weighing import Answers, Weighed, Weighing
from studio_worker.models.store import Store
from studio_worker.wire.claims import Fingerprint
from studio_worker.wire.frames import RejectCode
from studio_worker.wire.model_source import parse_model_source
from studio_worker.wire.tasks import LlmTask, Message

SIZE = 1_000_000
PATIENCE_SECS = 15.0


class Disk:
    """A disk with so many bytes free. While `gate` is shut it does not answer."""

    def __init__(self) -> None:
        self.free = 10**12
        self.gate = threading.Event()
        self.gate.set()
        self.asked = 0
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()

    def __call__(self, folder: Path) -> int:
        self._loop.call_soon_threadsafe(self._hear)
        assert self.gate.wait(PATIENCE_SECS)
        return self.free

    def _hear(self) -> None:
        self.asked += 1
        self._news.set()

    async def heard(self, count: int = 1) -> None:
        async with asyncio.timeout(PATIENCE_SECS):
            while self.asked < count:
                self._news.clear()
                await self._news.wait()


@pytest.fixture
async def disk():
    made = Disk()
    yield made
    made.gate.set()


@pytest.fixture
async def weigher(tmp_path, open_room, disk):
    """The jobs room of a worker that may download."""
    downloader = Downloader(
        lambda: Guard(own_origin=None), DownloadSettings, user_agent="test", disk=DiskSpace(disk), tries=1
    )
    (tmp_path / "models").mkdir()
    store = Store(lambda: room.settings.root, downloader=downloader)
    async with open_room(tmp_path, store=store) as room:
        room.settings.root = tmp_path / "models"
        yield room
    await store.aclose()


@pytest.fixture
def claim_of(claim):
    """A claim with one model file."""

    def make(job_id: str = "job-1", name: str = "a.bin", **fields) -> dict:
        file = {"role": "model", "url": f"https://files.example/{name}", "filename": name, "approxBytes": SIZE}
        return claim(job_id=job_id, modelSource={"engine": "gate", "files": [file], "cliDefaults": {}}, **fields)

    return make


def bring(room, name: str = "a.bin") -> None:
    (room.state_dir / "models" / name).write_bytes(b"x" * SIZE)


async def test_an_offer_whose_files_do_not_fit_is_rejected_before_it_is_accepted(weigher, wire, disk, claim_of):
    disk.free = SIZE
    weigher.offer(wire, claim_of())
    rejected = await wire.until("reject")
    assert rejected.code == "no_space"
    assert "not enough disk space for 1 model file" in rejected.reason
    assert wire.types == ["reject"]
    assert weigher.desk.jobs() == ()
    assert weigher.engine.runs == 0
    assert ("info", f"offered: rejected, {rejected.reason}", "job-1") in weigher.events.lines


async def test_a_folder_whose_name_no_frame_can_carry_is_named_in_letters(weigher, wire, disk, claim_of):
    weigher.settings.root = weigher.state_dir / os.fsdecode(b"mod\xe8les")
    weigher.settings.root.mkdir()
    disk.free = SIZE
    weigher.offer(wire, claim_of())
    assert "mod\\udce8les" in (await wire.until("reject")).reason


async def test_after_a_rejection_the_seat_is_free(weigher, wire, disk, claim_of, claim):
    disk.free = SIZE
    weigher.offer(wire, claim_of())
    await wire.until("reject")
    weigher.offer(wire, claim(job_id="job-2"))
    await wire.until("completeJson", "job-2")


async def test_an_offer_that_fits_is_accepted_and_run(weigher, wire, disk, claim_of):
    disk.gate.clear()
    weigher.offer(wire, claim_of())
    await disk.heard()
    assert wire.types == []
    bring(weigher)
    disk.gate.set()
    await wire.until("completeJson")
    assert wire.types == ["accept", "completeJson"]


async def test_files_that_are_here_are_looked_for_once_and_then_known(
    weigher, wire, disk, claim_of, monkeypatch: pytest.MonkeyPatch
):
    bring(weigher)
    looks: list[str] = []
    look = Store.check_room

    async def counted(store, model, source) -> None:
        looks.append(model)
        await look(store, model, source)

    monkeypatch.setattr(Store, "check_room", counted)
    for number in range(3):
        weigher.offer(wire, claim_of(f"job-{number}"))
        await wire.until("completeJson", f"job-{number}")
    assert looks == ["gate-llm"]
    assert disk.asked == 0


async def test_an_offer_without_files_is_accepted_in_the_same_breath(weigher, wire, claim):
    weigher.offer(wire, claim())
    assert wire.types == ["accept"]


async def test_an_offer_whose_files_are_known_is_accepted_in_the_same_breath(weigher, wire, claim_of):
    bring(weigher)
    weigher.offer(wire, claim_of("job-1"))
    await wire.until("completeJson", "job-1")
    weigher.offer(wire, claim_of("job-2"))
    assert wire.types[-1] == "accept"
    await wire.until("completeJson", "job-2")


async def test_while_the_disk_is_looked_at_the_seat_is_taken(weigher, wire, disk, claim_of, claim):
    disk.gate.clear()
    weigher.offer(wire, claim_of())
    await disk.heard()
    weigher.offer(wire, claim(job_id="job-2"))
    assert [(frame.job_id, frame.code) for frame in wire.of("reject")] == [("job-2", "busy")]
    disk.free = 0
    disk.gate.set()
    assert (await wire.until("reject", "job-1")).code == "no_space"


async def test_an_offer_that_comes_again_meanwhile_is_answered_where_it_came_last(
    weigher, wire, make_wire, disk, claim_of
):
    disk.gate.clear()
    weigher.offer(wire, claim_of())
    await disk.heard()
    wire.cut()
    later = make_wire()
    weigher.offer(later, claim_of())
    disk.free = 0
    disk.gate.set()
    await later.until("reject")
    assert (wire.types, later.types, disk.asked) == ([], ["reject"], 1)


async def test_another_task_of_the_same_id_is_busy_meanwhile(weigher, wire, disk, claim_of):
    disk.gate.clear()
    weigher.offer(wire, claim_of())
    await disk.heard()
    weigher.offer(wire, claim_of(name="other.bin"))
    assert [frame.code for frame in wire.of("reject")] == ["busy"]


async def test_an_order_of_this_process_cannot_take_the_id_meanwhile(weigher, wire, disk, claim_of):
    disk.gate.clear()
    weigher.offer(wire, claim_of())
    await disk.heard()
    link = LocalLink()
    task = LlmTask(messages=[Message(role="user", content="hello")])
    weigher.desk.submit(LocalOrder(job_id="job-1", model="gate-llm", task=task), link)
    with pytest.raises(BadClaim, match="in use by another job"):
        await link.result


@pytest.mark.parametrize(("stop", "why"), [("pause", "the worker is paused"), ("close", "the worker is stopping")])
async def test_a_worker_that_is_paused_or_stopped_meanwhile_takes_nothing(weigher, wire, disk, claim_of, stop, why):
    disk.gate.clear()
    weigher.offer(wire, claim_of())
    await disk.heard()
    getattr(weigher.desk, stop)()
    disk.gate.set()
    rejected = await wire.until("reject")
    assert (rejected.code, rejected.reason) == ("paused", why)


async def test_a_drain_waits_for_the_answer(weigher, wire, disk, claim_of):
    disk.gate.clear()
    weigher.offer(wire, claim_of())
    await disk.heard()
    weigher.desk.close()
    draining = asyncio.create_task(weigher.desk.drained())
    await asyncio.sleep(0)
    assert not draining.done()
    disk.gate.set()
    async with asyncio.timeout(PATIENCE_SECS):
        await draining
    assert wire.types == ["reject"]


async def test_a_cancel_meanwhile_ends_the_job_and_frees_the_seat(weigher, wire, disk, claim_of, claim):
    disk.gate.clear()
    weigher.offer(wire, claim_of())
    await disk.heard()
    assert weigher.desk.cancel("job-1", "the studio says so")
    assert wire.types == ["accept", "fail"]
    assert (wire.frames[1].error, wire.frames[1].retryable) == ("cancelled: the studio says so", False)
    weigher.offer(wire, claim(job_id="job-2"))
    await wire.until("completeJson", "job-2")
    disk.gate.set()
    await weigher.desk.drained()
    assert [frame.job_id for frame in wire.frames[2:]] == ["job-2", "job-2"]


async def test_a_connection_that_ends_meanwhile_frees_the_seat(weigher, wire, make_wire, disk, claim_of, claim):
    disk.gate.clear()
    weigher.offer(wire, claim_of())
    await disk.heard()
    wire.cut()
    disk.gate.set()
    await weigher.desk.drained()
    later = make_wire()
    weigher.offer(later, claim(job_id="job-2"))
    await later.until("completeJson", "job-2")
    assert wire.types == []


async def test_the_end_of_the_worker_meanwhile_says_nothing(tmp_path, open_room, wire, claim_of):
    held = HeldStore(tmp_path)
    async with open_room(tmp_path, store=held) as room:
        room.offer(wire, claim_of())
        await held.begun.wait()
    assert wire.types == []


class HeldStore(Store):
    """A store whose look at the disk takes for ever, or meets a flaw."""

    def __init__(self, root: Path, flaw: Exception | None = None) -> None:
        super().__init__(lambda: root / "models")
        self.begun = asyncio.Event()
        self._flaw = flaw

    def needs_room(self, model, source) -> bool:
        return True

    async def check_room(self, model, source) -> None:
        self.begun.set()
        if self._flaw is not None:
            raise self._flaw
        await asyncio.Event().wait()


async def test_a_flaw_of_the_look_is_no_lack_of_room(tmp_path, open_room, wire, claim, caplines):
    async with open_room(tmp_path, store=HeldStore(tmp_path, RuntimeError("a flaw"))) as room:
        room.offer(wire, claim())
        await wire.until("completeJson")
    assert "jobs.unplanned" in {line["event"] for line in caplines}


class Desk:
    """Takes the answers of a `Weighing` for one offer."""

    def __init__(self, store: Store, *, look_secs: float = PATIENCE_SECS, begin=None) -> None:
        self.said: list[tuple[str, object]] = []
        self.left = 0
        self.tasks: list[asyncio.Task[None]] = []
        self.ended = asyncio.Event()
        answers = Answers(
            closed_for=lambda: None,
            begin=begin or (lambda *_: self.said.append(("begin", None))),
            reject=lambda job_id, link, reason, code: self.said.append((reason, code)),
            refuse=lambda job_id, link, error: self.said.append(("refuse", str(error))),
        )
        self.weighing = Weighing(store, answers, start=self._start, ended=self.ended.set, look_secs=look_secs)
        plan = SimpleNamespace(job_id="job-1", model="m", source=parse_model_source({"engine": "e", "files": []}))
        self.offer = Weighed(plan, None, SimpleNamespace(leave=self._leave), Fingerprint())

    def _start(self, work, name: str) -> asyncio.Task[None]:
        self.tasks.append(asyncio.create_task(work, name=name))
        return self.tasks[-1]

    def _leave(self) -> None:
        self.left += 1


async def test_a_disk_that_does_not_answer_is_named_in_time(tmp_path):
    desk = Desk(HeldStore(tmp_path), look_secs=0.01)
    desk.weighing.begin(desk.offer)
    async with asyncio.timeout(PATIENCE_SECS):
        await desk.ended.wait()
    [(reason, code)] = desk.said
    assert code is RejectCode.NO_SPACE
    assert "has not answered within 0.01 s" in reason
    assert desk.left == 1


async def test_a_look_that_is_cancelled_before_it_began_gives_the_seat_back(tmp_path):
    desk = Desk(HeldStore(tmp_path))
    desk.weighing.begin(desk.offer)
    desk.tasks[0].cancel()
    await asyncio.wait(desk.tasks)
    await desk.ended.wait()
    assert (desk.said, desk.left, len(desk.weighing)) == ([], 1, 0)


async def test_a_look_that_cannot_be_started_leaves_no_offer_behind(tmp_path):
    desk = Desk(HeldStore(tmp_path))

    def refuse(work, name: str):
        work.close()
        raise RuntimeError("nothing runs")

    desk.weighing._start = refuse
    with pytest.raises(RuntimeError, match="nothing runs"):
        desk.weighing.begin(desk.offer)
    assert "job-1" not in desk.weighing


async def test_a_job_that_cannot_be_begun_is_refused_and_the_seat_is_free(tmp_path):
    def begin(*_: object) -> None:
        raise OSError(28, "No space left on device")

    desk = Desk(HeldStore(tmp_path, RuntimeError("a flaw")), begin=begin)
    desk.weighing.begin(desk.offer)
    async with asyncio.timeout(PATIENCE_SECS):
        await desk.ended.wait()
    assert desk.said == [("refuse", "this worker could not work with its own files: No space left on device")]
    assert desk.left == 1


async def test_an_offer_that_does_not_wait_cannot_be_cancelled(tmp_path):
    assert not Desk(HeldStore(tmp_path)).weighing.cancel("job-1", JobCancelled("why", retryable=False))
