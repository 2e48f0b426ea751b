"""One exercise that every store has to pass; SQLite is the one there is."""

import sqlite3
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from studio_worker.studio.store.database import Database
from studio_worker.studio.store.port import AlreadyThere, Store, StoreBusy
from studio_worker.studio.store.rows import (
    BlobOutcome,
    JobState,
    JsonOutcome,
    LogLine,
    Model,
    NewJob,
    Registration,
    Wants,
    Worker,
)
from studio_worker.studio.store.sqlite import SqliteStore
from studio_worker.studio.store.statements import statements

NOW = "2026-01-01T00:00:00.000Z"


def sqlite(tmp_path: Path) -> Store:
    return SqliteStore(tmp_path / "studio.db", lambda: NOW, busy_secs=0.05)


@pytest.fixture(params=[sqlite], ids=["sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    make: Callable[[Path], Store] = request.param
    store = make(tmp_path)
    yield store
    await store.aclose()


def new(job_id: str, **more: Any) -> NewJob:
    return NewJob(
        **{"id": job_id, "model": "m", "kind": "llm", "engine": "e", "task": {"kind": "llm"}, "model_source": {}} | more
    )


def wants(worker_id: str = "w", **more: Any) -> Wants:
    return Wants(**{"worker_id": worker_id, "serves": (("llm", None),), "vram_gb": 8.0} | more)


async def test_a_job_comes_back_as_it_was_kept(store: Store) -> None:
    task = {"kind": "llm", "x": [None, 1.5, "ü\u2028"]}
    job = await store.add_job(new("a", task=task, model_source={"engine": "e"}, vram_gb_estimate=1.5))

    assert await store.job("a") == job
    assert (job.state, job.task, job.attempts, job.attempt, job.created_at) == (JobState.QUEUED, task, 0, 1, NOW)
    assert await store.job("b") is None


async def test_an_id_is_kept_once(store: Store) -> None:
    await store.add_job(new("a"))
    with pytest.raises(AlreadyThere):
        await store.add_job(new("a"))


async def test_ids_differ_by_case(store: Store) -> None:
    await store.add_job(new("a"))
    await store.add_job(new("A"))

    assert len(await store.jobs(None, 10, None)) == 2


async def test_a_claim_is_made_once(store: Store) -> None:
    await store.add_job(new("a"))

    first, second = await store.claim_next([wants("v")]), await store.claim_next([wants("w")])

    assert first is not None
    assert (first.state, first.worker_id, first.last_worker_id) == (JobState.CLAIMED, "v", "v")
    assert second is None


@pytest.mark.parametrize(
    ("job", "asked", "is_given"),
    [
        ({}, {}, True),
        ({}, {"serves": (("llm", "e"),)}, True),
        ({}, {"serves": (("llm", "f"),)}, False),
        ({}, {"serves": (("image", None),)}, False),
        ({}, {"serves": ()}, False),
        ({}, {"serves": (("image", "e"), ("llm", "f"), ("llm", "e"))}, True),
        ({"vram_gb_estimate": 8.0}, {}, True),
        ({"vram_gb_estimate": 8.1}, {}, False),
        ({}, {"held": ("a",)}, False),
        ({}, {"held": ("b",)}, True),
        ({"engine": "' OR 1=1"}, {"serves": (("llm", "' OR 1=1"),)}, True),
    ],
)
async def test_a_claim_follows_what_the_worker_can_do(
    store: Store, job: dict[str, Any], asked: dict[str, Any], is_given: bool
) -> None:
    await store.add_job(new("a", **job))

    assert (await store.claim_next([wants(**asked)]) is not None) is is_given


async def test_the_first_worker_that_may_have_a_job_gets_it(store: Store) -> None:
    await store.add_job(new("a"))

    job = await store.claim_next([wants("u", serves=()), wants("v", serves=(("llm", "f"),)), wants("w"), wants("x")])

    assert job is not None
    assert job.worker_id == "w"
    assert await store.claim_next([]) is None


async def test_claims_go_by_age(store: Store) -> None:
    for job_id in "zab":
        await store.add_job(new(job_id))

    claimed = [await store.claim_next([wants()]) for _ in range(3)]

    assert [job.id for job in claimed if job] == ["z", "a", "b"]


async def test_a_release_needs_the_right_worker(store: Store) -> None:
    await store.add_job(new("a"))
    await store.claim_next([wants("w")])

    assert await store.release("v", ["a"]) == []
    assert await store.release("w", ["a", "b"]) == ["a"]
    assert await store.release("w", ["a"]) == []
    job = await store.job("a")
    assert job is not None
    assert (job.state, job.attempts, job.attempt, job.worker_id, job.last_worker_id) == ("queued", 0, 1, None, "w")


async def test_claims_are_listed_with_their_workers(store: Store) -> None:
    for job_id in "abc":
        await store.add_job(new(job_id))
    await store.claim_next([wants("v")])
    await store.claim_next([wants("w")])

    assert await store.claims() == [("v", "a"), ("w", "b")]


async def test_all_claims_are_released_at_once(store: Store) -> None:
    for job_id in "ab":
        await store.add_job(new(job_id))
        await store.claim_next([wants(job_id)])

    assert sorted(await store.release_all()) == ["a", "b"]


@pytest.mark.parametrize(
    ("worker", "attempt", "is_taken"),
    [("w", None, True), ("w", 1, True), ("w", 2, False), ("v", None, False), ("v", 1, False)],
)
@pytest.mark.parametrize("is_queued_again", [False, True])
async def test_a_result_is_taken_from_the_last_claims_worker_and_attempt(
    store: Store, worker: str, attempt: int | None, is_taken: bool, is_queued_again: bool
) -> None:
    await store.add_job(new("a"))
    await store.claim_next([wants("w")])
    if is_queued_again:
        await store.release("w", ["a"])

    job = await store.finish("a", worker, attempt, JsonOutcome(result={"x": None}, prompt="p"), NOW)

    assert (job is not None) is is_taken
    if job:
        assert (job.state, job.result, job.has_result, job.prompt) == (JobState.DONE, {"x": None}, True, "p")
        assert (job.started_at, job.finished_at, job.worker_id) == (NOW, NOW, "w")


async def test_a_result_is_taken_once(store: Store) -> None:
    await store.add_job(new("a"))
    await store.claim_next([wants()])
    outcome = BlobOutcome(blob="b", media_type="image/png", blob_bytes=3, meta={"seed": 1})

    assert await store.finish("a", "w", None, outcome, None) is not None
    assert await store.finish("a", "w", None, outcome, None) is None
    assert await store.blobs() == {"b"}
    job = await store.job("a")
    assert job is not None
    assert (job.blob, job.media_type, job.blob_bytes, job.meta, job.has_result) == (
        "b",
        "image/png",
        3,
        {"seed": 1},
        False,
    )


async def test_failures_are_counted_to_the_bound(store: Store) -> None:
    await store.add_job(new("a"))
    seen = []
    for _ in range(3):
        await store.claim_next([wants()])
        settled = await store.fail("a", "w", "x", retryable=True, max_attempts=3)
        assert settled is not None
        seen.append((settled.job.state.value, settled.job.attempts, settled.job.attempt))

    assert seen == [("queued", 1, 2), ("queued", 2, 3), ("failed", 3, 4)]
    assert await store.fail("a", "w", "x", retryable=True, max_attempts=3) is None


async def test_a_failure_needs_the_right_worker(store: Store) -> None:
    await store.add_job(new("a"))
    await store.claim_next([wants("w")])

    assert await store.fail("a", "v", "x", retryable=False, max_attempts=3) is None


async def test_a_finished_job_is_neither_cancelled_nor_a_queued_one_retried(store: Store) -> None:
    await store.add_job(new("a"))
    assert await store.retry("a") is None
    await store.cancel("a", "no")
    assert await store.cancel("a", "no") is None
    job = await store.retry("a")
    assert job is not None
    assert (job.state, job.attempt, job.error) == (JobState.QUEUED, 2, None)


async def test_a_needed_result_holds_a_job_back(store: Store) -> None:
    await store.add_job(new("a"))
    await store.add_job(new("b", needs=("a",)))
    await store.claim_next([wants()])

    assert await store.claim_next([wants()]) is None
    assert await store.needs("b") == [("a", JobState.CLAIMED)]
    await store.finish("a", "w", None, JsonOutcome(result={}), None)
    job = await store.claim_next([wants()])
    assert job is not None
    assert job.id == "b"


async def test_a_failure_runs_down_the_chain(store: Store) -> None:
    await store.add_job(new("a"))
    await store.add_job(new("b", needs=("a",)))
    await store.add_job(new("c", needs=("b",)))
    await store.add_job(new("d"))

    settled = await store.cancel("a", "no")

    assert settled is not None
    assert sorted(settled.fallen) == ["b", "c"]
    errors = {job.id: job.error for job in await store.jobs(JobState.FAILED, 10, None)}
    assert errors == {"b": "needs the result of a, which was cancelled", "c": "needs the result of b, which failed"}


async def test_a_job_added_behind_a_failed_one_fails_at_once(store: Store) -> None:
    await store.add_job(new("a"))
    await store.cancel("a", "no")

    job = await store.add_job(new("b", needs=("a",)))

    assert job.state is JobState.FAILED


async def test_lists_are_ordered_for_people(store: Store) -> None:
    for job_id in "abcd":
        await store.add_job(new(job_id))
    await store.claim_next([wants()])
    await store.cancel("d", "no")

    assert [job.id for job in await store.waiting(10)] == ["a", "b", "c"]
    assert [job.id for job in await store.finished(10)] == ["d"]
    assert [job.id for job in await store.jobs(None, 2, "d")] == ["c", "b"]
    assert await store.counts() == {"queued": 2, "claimed": 1, "cancelled": 1}


async def test_the_end_of_links_is_remembered_until_a_retry(store: Store) -> None:
    await store.add_job(new("a"))
    await store.keep_links_until("a", 7)
    await store.cancel("a", "no")
    kept = await store.job("a")
    again = await store.retry("a")

    assert kept is not None
    assert again is not None
    assert (kept.links_until, again.links_until) == (7, None)


def asked(request_id: str, **more: Any) -> Registration:
    return Registration(
        **{
            "id": request_id,
            "install_id": "i",
            "secret_hash": "h",
            "capabilities": {"machineName": "x"},
            "user_agent": "u",
            "source_ip": "127.0.0.1",
            "status": "pending",
            "reason": "",
            "worker_id": None,
            "requested_at": NOW,
            "decided_at": None,
        }
        | more
    )


def admitted(worker_id: str = "w") -> Worker:
    return Worker(
        id=worker_id,
        token_hash="t",
        install_id="i",
        capabilities={},
        user_agent="u",
        created_at=NOW,
        last_seen_at=None,
        deleted_at=None,
    )


async def test_a_request_is_refreshed_while_it_waits(store: Store) -> None:
    first = await store.ask(asked("r1"), most=9)
    again = await store.ask(asked("r2", secret_hash="h2"), most=9)
    elsewhere = await store.ask(asked("r3", source_ip="10.0.0.1"), most=9)

    assert (first.id, again.id, again.secret_hash, elsewhere.id) == ("r1", "r1", "h2", "r3")
    assert len(await store.pending(9)) == 2


async def test_at_the_bound_only_a_request_that_waits_already_is_taken(store: Store) -> None:
    await store.ask(asked("r1"), most=1)

    assert await store.ask(asked("r2", install_id="j"), most=1) is None
    again = await store.ask(asked("r3", secret_hash="h2"), most=1)
    assert again is not None
    assert (again.id, again.secret_hash) == ("r1", "h2")
    await store.reject("r1", "no", NOW)
    assert await store.ask(asked("r4", install_id="j"), most=1) is not None


async def test_no_more_requests_are_read_than_are_wanted(store: Store) -> None:
    for number in range(4):
        await store.ask(asked(f"r{number}", install_id=str(number)), most=9)

    assert [waiting.id for waiting in await store.pending(2)] == ["r0", "r1"]


async def test_a_request_that_nobody_polls_is_forgotten(store: Store) -> None:
    for request_id in ("polled", "silent", "asked again", "decided"):
        await store.ask(asked(request_id, install_id=request_id), most=9)
    await store.polled("polled", "2026-01-01T09:00:00.000Z")
    await store.ask(asked("r", install_id="asked again", requested_at="2026-01-01T09:00:00.000Z"), most=9)
    await store.reject("decided", "no", NOW)

    assert await store.expire("2026-01-01T08:00:00.000Z") == ["silent"]
    assert await store.registration("silent") is None
    assert [waiting.id for waiting in await store.pending(9)] == ["asked again", "polled"]


async def test_a_request_of_an_older_studio_is_not_forgotten_at_once(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "studio.db")
    first = files("studio_worker.studio.store").joinpath("migrations", "0001_first.sql").read_text("utf-8")
    connection.executescript(first + "PRAGMA user_version = 1;")
    connection.execute(
        "INSERT INTO registrations (id, install_id, secret_hash, capabilities, user_agent, source_ip, requested_at) "
        "VALUES ('r', 'i', 'h', '{}', '', '::1', '2020-01-01T00:00:00.000Z')"
    )
    connection.commit()
    connection.close()
    store = sqlite(tmp_path)

    assert await store.expire(NOW) == []
    (waiting,) = await store.pending(9)
    assert waiting.polled_at is not None
    assert datetime.fromisoformat(waiting.polled_at) > datetime.fromisoformat(NOW)
    await store.aclose()


async def test_a_request_is_decided_once(store: Store) -> None:
    await store.ask(asked("r"), most=9)

    assert await store.approve("r", admitted())
    assert not await store.approve("r", admitted("other"))
    assert not await store.reject("r", "no", NOW)
    assert [worker.id for worker in await store.workers()] == ["w"]
    kept = await store.registration("r")
    assert kept is not None
    assert (kept.status, kept.worker_id) == ("approved", "w")


async def test_a_token_is_rotated_for_an_approved_request_only(store: Store) -> None:
    await store.ask(asked("r"), most=9)
    assert not await store.rotate("r", "t2")
    await store.approve("r", admitted())
    assert await store.rotate("r", "t2")
    worker = await store.worker("w")
    assert worker is not None
    assert worker.token_hash == "t2"
    await store.delete_worker("w", NOW)
    assert not await store.rotate("r", "t3")


async def test_a_deleted_worker_stays_known_but_is_not_listed(store: Store) -> None:
    await store.ask(asked("r"), most=9)
    await store.approve("r", admitted())

    assert await store.delete_worker("w", NOW)
    assert not await store.delete_worker("w", NOW)
    assert await store.workers() == []
    worker = await store.worker("w")
    assert worker is not None
    assert worker.deleted_at == NOW


async def test_what_a_worker_said_is_kept(store: Store) -> None:
    await store.ask(asked("r"), most=9)
    await store.approve("r", admitted())
    await store.seen("w", {"machineName": "y"}, NOW)

    worker = await store.worker("w")

    assert worker is not None
    assert (worker.capabilities, worker.last_seen_at) == ({"machineName": "y"}, NOW)


async def test_models_are_kept_by_id(store: Store) -> None:
    model = Model(id="m", kind="llm", engine="e", model_source={"engine": "e"}, enabled=False, created_at=NOW)
    await store.add_model(model)
    with pytest.raises(AlreadyThere):
        await store.add_model(model)

    assert await store.model("m") == model
    assert await store.models() == [model]
    assert await store.delete_model("m")
    assert not await store.delete_model("m")
    assert await store.model("m") is None


async def test_logs_are_trimmed_to_the_bound(store: Store) -> None:
    lines = [LogLine(worker_id="w", job_id=None, at=NOW, level="info", category="", message=str(n)) for n in range(10)]
    await store.append_logs(lines, keep=4)

    kept = await store.logs(None, None, None, 100)

    assert [line.message for line in kept] == ["6", "7", "8", "9"]
    assert [line.message for line in await store.logs(None, None, kept[1].seq, 1)] == ["8"]


async def test_a_locked_database_is_busy_and_nothing_is_half_done(tmp_path: Path) -> None:
    store = sqlite(tmp_path)
    await store.add_job(new("a"))
    other = sqlite3.connect(tmp_path / "studio.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")

    with pytest.raises(StoreBusy):
        await store.claim_next([wants()])

    other.execute("ROLLBACK")
    other.close()
    assert await store.claim_next([wants()]) is not None
    await store.aclose()


async def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = sqlite(tmp_path)
    await store.aclose()
    await store.aclose()

    with pytest.raises(StoreBusy, match="closed"):
        await store.job("a")


async def test_only_what_may_be_lost_does_not_wait_for_the_disk(tmp_path: Path) -> None:
    database = Database(tmp_path / "studio.db")
    kept: list[str] = []

    def look(db: sqlite3.Connection) -> None:
        kept.append(["off", "normal", "full"][db.execute("PRAGMA synchronous").fetchone()[0]])

    def fail(db: sqlite3.Connection) -> None:
        look(db)
        raise ZeroDivisionError

    await database.run(look)
    await database.run(look, may_be_lost=True)
    with pytest.raises(ZeroDivisionError):
        await database.run(fail, may_be_lost=True)
    await database.run(look)
    await database.aclose()

    assert kept == ["full", "normal", "normal", "full"]


async def test_rows_are_there_after_the_file_was_opened_again(tmp_path: Path) -> None:
    store = sqlite(tmp_path)
    await store.add_job(new("a"))
    await store.aclose()

    again = sqlite(tmp_path)

    assert await again.job("a") is not None
    await again.aclose()


@pytest.mark.parametrize("name", ["jobs", "workers", "models", "logs"])
def test_every_query_can_be_explained(tmp_path: Path, name: str) -> None:
    class Anything(dict[str, Any]):
        def __missing__(self, key: str) -> Any:
            return "[]" if key in ("serves", "held", "ids") else None

    sqlite(tmp_path)
    connection = sqlite3.connect(tmp_path / "studio.db")

    for query in statements(name).values():
        connection.execute(f"EXPLAIN QUERY PLAN {query}", Anything())


def test_the_queue_is_looked_up_by_index(tmp_path: Path) -> None:
    sqlite(tmp_path)
    connection = sqlite3.connect(tmp_path / "studio.db")
    values = {"worker_id": "w", "serves": '[["llm","e"]]', "vram_gb": 8, "held": "[]"}

    plan = connection.execute(f"EXPLAIN QUERY PLAN {statements('jobs')['claim_next']}", values).fetchall()

    assert any("USING INDEX jobs_by_state (state=?)" in row[3] for row in plan), plan
    assert not any("TEMP B-TREE" in row[3] for row in plan), plan
