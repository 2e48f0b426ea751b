"""Parts that need no server: signatures, blobs, peers, patience, words on the page."""

import asyncio
import stat
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from studio_worker.clock import SystemClock
from studio_worker.studio.access import MAX_LOGIN_CODES, Access
from studio_worker.studio.blobs import Blobs
from studio_worker.studio.job_json import title_of
from studio_worker.studio.links import ResultLinks, needed_results
from studio_worker.studio.page_views import PageViews
from studio_worker.studio.patience import patiently
from studio_worker.studio.peer import Held, Peer, Roster
from studio_worker.studio.signing import Signer, load_key
from studio_worker.studio.store.port import StoreBusy
from studio_worker.studio.store.rows import JsonOutcome, NewJob, Registration, Wants
from studio_worker.studio.store.sqlite import SqliteStore
from studio_worker.wire.capabilities import Capabilities
from studio_worker.wire.frames import HeartbeatAck
from studio_worker.wire.tasks import parse_task

KEY = bytes(32)
NOW = "2026-01-01T00:00:00.000Z"


class TestSigning:
    def test_a_signature_holds_for_what_was_signed_until_its_end(self) -> None:
        signer = Signer(KEY)
        signature = signer.sign("result", "fox", 100)

        assert signer.holds("result", "fox", "100", signature, 99)
        assert not signer.holds("result", "fox", "100", signature, 100)
        assert not signer.holds("result", "owl", "100", signature, 99)
        assert not signer.holds("session", "fox", "100", signature, 99)
        assert not signer.holds("result", "fox", "101", signature, 99)
        assert not Signer(b"x" * 32).holds("result", "fox", "100", signature, 99)

    @pytest.mark.parametrize("until", ["", "-1", "1e9", " 100", "١٠٠", "9" * 13])
    def test_an_end_that_is_no_plain_number_holds_nothing(self, until: str) -> None:
        assert not Signer(KEY).holds("result", "fox", until, "x", 0)

    def test_a_signature_that_is_no_ascii_holds_nothing(self) -> None:
        assert not Signer(KEY).holds("result", "fox", "100", "ü", 0)

    def test_a_key_is_made_once_and_is_private(self, tmp_path: Path) -> None:
        first = load_key(tmp_path / "key")

        assert load_key(tmp_path / "key") == first
        assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600

    @pytest.mark.parametrize("text", ["", "zz", "abcd"])
    def test_a_broken_key_is_replaced(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "key").write_text(text)
        (tmp_path / "key").chmod(0o600)

        assert len(load_key(tmp_path / "key")) == 32

    def test_unused_login_codes_are_bounded(self) -> None:
        access = Access("x" * 16, Signer(KEY), lambda: 0.0, 60)
        first = access.login_code()
        later = [access.login_code() for _ in range(MAX_LOGIN_CODES)]

        assert not access.spend_code(first)
        assert access.spend_code(later[-1])


class TestBlobs:
    def test_two_results_of_one_job_have_two_names(self, tmp_path: Path) -> None:
        blobs = Blobs(tmp_path)
        names = set()
        for _ in range(2):
            temp = blobs.temp()
            temp.write_bytes(b"x")
            names.add(blobs.keep(temp, "fox"))

        assert len(names) == 2
        assert all(blobs.path(name) for name in names)

    @pytest.mark.parametrize(
        "name", ["", ".", "..", "../x", "incoming", "a" * 49, "/etc/passwd", "A" * 32 + "-" + "b" * 16]
    )
    def test_a_name_that_is_not_ours_leads_nowhere(self, tmp_path: Path, name: str) -> None:
        blobs = Blobs(tmp_path)
        blobs.delete(name)

        assert blobs.path(name) is None
        assert (tmp_path / "incoming").is_dir()

    def test_a_sweep_keeps_what_is_known(self, tmp_path: Path) -> None:
        blobs = Blobs(tmp_path)
        kept, dropped = blobs.keep(blobs.temp(), "a"), blobs.keep(blobs.temp(), "b")

        assert blobs.sweep({kept}) == 1
        assert blobs.path(kept)
        assert not blobs.path(dropped)


def peer(**caps: Any) -> Peer:
    made = Peer("w", "http://x", 3, 0.0, NOW)
    made.heard(Capabilities(task_kinds=("llm",), vram_threshold_gb=8.0, **caps), 0.0, NOW)
    made.is_welcome = True
    return made


class TestPeer:
    def test_a_worker_that_says_its_sources_serves_those(self) -> None:
        assert peer(sources={"llm": ("a", "b"), "image": ("c",)}).serves() == (("llm", "a"), ("llm", "b"))

    def test_a_worker_that_does_not_say_serves_any(self) -> None:
        assert peer().serves() == (("llm", None),)

    @pytest.mark.parametrize("change", ["is_resting", "is_gone"])
    def test_a_resting_or_gone_worker_is_not_free(self, change: str) -> None:
        one = peer()
        assert one.is_free
        setattr(one, change, True)
        assert not one.is_free

    def test_slots_are_one_unless_said(self) -> None:
        one, two = peer(), peer(max_concurrent_jobs=2)
        for each in (one, two):
            each.held["a"] = Held("a", 1, "llm", 0.0)

        assert (one.is_free, two.is_free) == (False, True)

    def test_what_is_held_and_what_was_declined_is_not_wanted(self) -> None:
        one = peer(max_concurrent_jobs=3)
        one.held["a"] = Held("a", 1, "llm", 0.0)
        one.declined.add("b")

        assert one.wants() == Wants(worker_id="w", serves=(("llm", None),), vram_gb=8.0, held=("a", "b"))

    def test_a_socket_that_takes_nothing_is_ended(self) -> None:
        one = peer()
        for _ in range(4):
            one.post(HeartbeatAck())

        assert one.ended is not None
        assert one.outgoing.qsize() == 4

    def test_the_first_end_counts(self) -> None:
        one = peer()
        one.end(4003, "first")
        one.end(1000, "second")
        one.post(HeartbeatAck())

        assert one.ended is not None
        assert one.ended.code == 4003
        assert one.outgoing.qsize() == 1

    def test_a_roster_forgets_only_the_connection_that_is_meant(self) -> None:
        roster, older, newer = Roster(), peer(), peer()
        roster.add(older)
        roster.add(newer)
        roster.remove(older)

        assert roster.get("w") is newer

    def test_a_cancelled_claim_has_no_holder(self) -> None:
        roster, one = Roster(), peer()
        one.held["a"] = Held("a", 1, "llm", 0.0)
        roster.add(one)
        assert roster.holder("a") is one
        one.held["a"].cancelled_at = 1.0
        assert roster.holder("a") is None


class TestLinks:
    def test_only_marked_fields_are_needed_results(self) -> None:
        task = {"inputUrl": "result:a", "maskUrl": "https://x", "prompt": "result:b", "refImageUrl": None}

        assert needed_results(task) == {"inputUrl": "a"}

    def test_the_rest_of_a_task_is_left_alone(self) -> None:
        links = ResultLinks(Signer(KEY), 60)
        task = links.resolved({"kind": "audio_stt", "inputUrl": "result:a:b"}, "http://x", 100)

        assert task["kind"] == "audio_stt"
        assert task["inputUrl"].startswith("http://x/graphics/api/jobs/a%3Ab/result?until=100&signature=")


class TestTitle:
    @pytest.mark.parametrize(
        ("task", "title"),
        [
            ({"kind": "image", "prompt": " A fox "}, "A fox"),
            ({"kind": "video", "prompt": "Waves"}, "Waves"),
            ({"kind": "audio_tts", "text": "Good evening"}, "Good evening"),
            ({"kind": "llm", "messages": [{"role": "user", "content": "Hello\x1b[2J\nyou"}]}, "Hello\\x1b[2J\\nyou"),
            ({"kind": "audio_stt", "inputUrl": "result:say"}, "Write down say"),
            ({"kind": "audio_stt", "inputUrl": "data:audio/wav;base64," + "A" * 1_000_000}, "Write down a sound"),
        ],
    )
    def test_a_title_says_what_a_task_is_about(self, task: dict[str, Any], title: str) -> None:
        assert title_of(parse_task(task)) == title

    def test_a_long_prompt_has_a_short_title(self) -> None:
        assert len(title_of(parse_task({"kind": "image", "prompt": "x" * 50_000}))) < 200


class Impatient(SystemClock):
    def __init__(self) -> None:
        self.slept: list[float] = []

    async def sleep(self, secs: float) -> None:
        self.slept.append(secs)


def busy(times: int) -> Callable[[], Any]:
    left = [times]

    async def ask() -> str:
        if left[0]:
            left[0] -= 1
            raise StoreBusy("locked")
        return "done"

    return ask


class TestPatience:
    async def test_a_busy_store_is_asked_again(self) -> None:
        clock = Impatient()

        assert await patiently(clock, busy(2)) == "done"
        assert len(clock.slept) == 2

    async def test_patience_ends(self) -> None:
        with pytest.raises(StoreBusy):
            await patiently(Impatient(), busy(3), tries=3)


class At(SystemClock):
    def __init__(self, moment: str) -> None:
        self._moment = datetime.fromisoformat(moment)

    def now(self) -> datetime:
        return self._moment.astimezone(UTC)


class TestPageViews:
    @pytest.fixture
    async def store(self, tmp_path: Path) -> Any:
        store = SqliteStore(tmp_path / "x.db", lambda: NOW)
        yield store
        await store.aclose()

    @pytest.mark.parametrize(
        ("result", "words"),
        [
            ({"choices": [{"message": {"content": " Good evening. "}}]}, "Good evening."),
            ({"text": " Good evening."}, "Good evening."),
            ({"choices": []}, '{\n  "choices": []\n}'),
            ({"choices": [{"message": {"content": None}}]}, None),
            (None, "null"),
            ([1, 2], None),
            ("x" * 10_000, None),
        ],
    )
    async def test_a_json_result_is_shown_by_its_words(
        self, store: SqliteStore, result: Any, words: str | None
    ) -> None:
        await store.add_job(NewJob(id="a", model="m", kind="llm", engine="e", task={}, model_source={}, title="Hello"))
        await store.claim_next([Wants(worker_id="w", serves=(("llm", None),), vram_gb=0)])
        await store.finish("a", "w", None, JsonOutcome(result=result), NOW)

        (row,) = (await PageViews(store, Roster(), SystemClock()).results())["results"]

        assert row["shows"] == "words"
        assert row["text"] == "Hello"
        assert len(row["words"]) <= 4_000
        if words is not None:
            assert row["words"] == words

    @pytest.mark.parametrize(
        ("now", "said"),
        [
            ("2026-01-01T00:00:10Z", "just now"),
            ("2025-12-31T23:00:00Z", "just now"),
            ("2026-01-01T00:00:40Z", "40 s ago"),
            ("2026-01-01T00:01:10Z", "1 minute ago"),
            ("2026-01-01T05:00:00Z", "5 hours ago"),
            ("2026-01-03T05:00:00Z", "2 days ago"),
        ],
    )
    async def test_times_are_said_in_words(self, store: SqliteStore, now: str, said: str) -> None:
        await store.ask(
            Registration(
                id="r",
                install_id="i",
                secret_hash="h",
                capabilities={},
                user_agent="",
                source_ip="::1",
                status="pending",
                reason="",
                worker_id=None,
                requested_at=NOW,
                decided_at=None,
            ),
            most=9,
        )

        (row,) = (await PageViews(store, Roster(), At(now)).pending())["pending"]

        assert (row["since"], row["name"]) == (said, "unnamed")


async def test_cancelling_who_waits_for_the_database_leaves_it_usable(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "x.db", lambda: NOW)
    waiting = asyncio.create_task(store.counts())
    await asyncio.sleep(0)
    waiting.cancel()

    assert await store.counts() == {}
    await store.aclose()
