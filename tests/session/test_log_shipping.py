"""Log lines on their way: order, bounds, masks."""

from __future__ import annotations

import base64
import json
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from studio_worker.clock import SystemClock
from studio_worker.session.log_shipping import MAX_BATCH_BYTES, MAX_WAITING, Batch, LogShipper
from studio_worker.wire.frames import LogBatch, read_worker_frame

TOKEN = "0123456789abcdef" * 4


class Fixed(SystemClock):
    """A wall clock that stands."""

    def now(self) -> datetime:
        return datetime(2026, 1, 1, 1, 0, 0, 1000, tzinfo=UTC) + timedelta(0)


def shipper() -> LogShipper:
    return LogShipper(Fixed(), lambda: (TOKEN, None, ""))


def entries(batches: list[Batch]) -> list[dict[str, Any]]:
    return [entry for batch in batches for entry in json.loads(batch.text)["entries"]]


def test_a_batch_is_the_contracts_frame() -> None:
    logs = shipper()
    logs.add("info", "job", "accepted", job_id="job-1")
    logs.add("error", "session", "lost")
    (batch,) = logs.take()

    assert json.loads(batch.text) == {
        "type": "logBatch",
        "entries": [
            {
                "ts": "2026-01-01T01:00:00.001Z",
                "level": "info",
                "category": "job",
                "message": "accepted",
                "jobId": "job-1",
            },
            {"ts": "2026-01-01T01:00:00.001Z", "level": "error", "category": "session", "message": "lost"},
        ],
    }
    assert isinstance(read_worker_frame(batch.text), LogBatch)


def test_nothing_waiting_is_no_batch() -> None:
    assert shipper().take() == []


def test_what_was_taken_waits_no_more() -> None:
    logs = shipper()
    logs.add("info", "job", "x")
    logs.take()

    assert logs.take() == []
    assert logs.waiting == 0


def test_lines_keep_their_order_over_many_frames() -> None:
    logs = shipper()
    for number in range(1_000):
        logs.add("info", "job", f"line {number}")
    batches = logs.take()

    assert [entry["message"] for entry in entries(batches)] == [f"line {number}" for number in range(1_000)]
    assert all(len(json.loads(batch.text)["entries"]) <= 200 for batch in batches)
    assert len(batches) <= 20


def test_beyond_one_round_the_oldest_go_and_one_line_counts_them() -> None:
    logs = shipper()
    for number in range(MAX_WAITING + 1_234):
        logs.add("info", "job", f"line {number}")
    batches = logs.take()
    shown = entries(batches)

    assert len(batches) == 20
    assert shown[0]["message"] == "1,234 older lines were dropped"
    assert shown[0]["level"] == "warn"
    assert shown[1]["message"] == "line 1234"
    assert sum("dropped" in entry["message"] for entry in shown) == 1
    assert len(shown) == MAX_WAITING + 1


def test_long_lines_are_held_to_the_bytes_of_a_round() -> None:
    logs = shipper()
    for number in range(MAX_WAITING):
        logs.add("info", "job", f"{number} " + "é" * 3_000)
    batches = logs.take()
    shown = entries(batches)

    assert len(batches) == 20
    assert all(len(batch.text.encode()) <= MAX_BATCH_BYTES for batch in batches)
    assert shown[-1]["message"].startswith(f"{MAX_WAITING - 1} ")
    missing = int(shown[0]["message"].split()[0].replace(",", ""))
    assert missing + len(shown) - 1 == MAX_WAITING


def test_a_message_is_bounded_and_on_one_line() -> None:
    logs = shipper()
    logs.add("info", "job\n", "a\nb\x1b[2J\u202e" + "x" * 5_000, job_id="j\r\n" + "y" * 20_000)
    (entry,) = entries(logs.take())

    assert len(entry["message"]) <= 2_000
    assert entry["message"].startswith("a\\nb\\x1b[2J\\u202e")
    assert entry["category"] == "job\\n"
    assert len(entry["jobId"]) < 300
    assert "\n" not in entry["jobId"]


@pytest.mark.parametrize("message", ["", " ", "\0", "\ud800", "\n"])
def test_an_odd_message_is_still_an_entry(message: str) -> None:
    logs = shipper()
    logs.add("info", "", message)

    assert isinstance(read_worker_frame(logs.take()[0].text), LogBatch)


@pytest.mark.parametrize(
    "shown", [TOKEN, f"Bearer {TOKEN}", f'"{TOKEN}"', base64.b64encode(TOKEN.encode()).decode(), f"?t={TOKEN}&x"]
)
def test_a_secret_is_masked_in_every_form(shown: str) -> None:
    logs = shipper()
    logs.add("info", "job", f"before {shown} after")
    (entry,) = entries(logs.take())

    assert "***" in entry["message"]
    assert TOKEN[:16] not in entry["message"]
    assert base64.b64encode(TOKEN.encode()).decode()[:16] not in entry["message"]


@pytest.mark.parametrize("at", range(1_930, 2_010, 7))
def test_no_part_of_a_secret_survives_the_cut(at: int) -> None:
    logs = shipper()
    logs.add("info", "job", "." * at + TOKEN)
    (entry,) = entries(logs.take())

    assert TOKEN[:6] not in entry["message"]


def test_a_secret_learnt_later_is_masked_in_lines_that_wait() -> None:
    secrets: list[str] = []
    logs = LogShipper(Fixed(), lambda: secrets)
    logs.add("info", "job", f"it is {TOKEN}")
    secrets.append(TOKEN)

    assert entries(logs.take())[0]["message"] == "it is ***"


def test_of_two_secrets_the_longer_is_masked_whole() -> None:
    logs = LogShipper(Fixed(), lambda: ("canary", "canary-and-more"))

    assert logs.masked("it is canary-and-more") == "it is ***"


def test_a_short_text_is_no_secret() -> None:
    logs = LogShipper(Fixed(), lambda: ("a",))
    logs.add("info", "job", "banana")

    assert entries(logs.take())[0]["message"] == "banana"


def test_what_was_not_shipped_goes_back_to_the_front() -> None:
    logs = shipper()
    for number in range(500):
        logs.add("info", "job", f"line {number}")
    batches = logs.take()
    logs.add("info", "job", "later")
    logs.put_back(batches[1:])

    shown = [entry["message"] for entry in entries(logs.take())]
    first = len(json.loads(batches[0].text)["entries"])
    assert shown == [*(f"line {number}" for number in range(first, 500)), "later"]


def test_putting_back_keeps_the_bound_and_counts_what_goes() -> None:
    logs = shipper()
    for number in range(MAX_WAITING):
        logs.add("info", "job", f"old {number}")
    batches = logs.take()
    for number in range(10):
        logs.add("info", "job", f"new {number}")
    logs.put_back(batches)
    shown = entries(logs.take())

    assert shown[0]["message"] == "10 older lines were dropped"
    assert shown[1]["message"] == "old 10"
    assert shown[-1]["message"] == "new 9"


def test_lines_come_from_any_thread() -> None:
    logs = shipper()

    def talk() -> None:
        for number in range(100):
            logs.add("info", "job", str(number))

    threads = [threading.Thread(target=talk) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(entries(logs.take())) == 800


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(max_size=300), max_size=400))
def test_whatever_is_logged_the_frames_can_be_read(messages: list[str]) -> None:
    logs = shipper()
    for message in messages:
        logs.add("info", "job", message)

    count = 0
    for batch in logs.take():
        frame = read_worker_frame(batch.text)
        assert isinstance(frame, LogBatch)
        count += len(frame.entries)
    assert count == len(messages)
