"""Bad input B-020 to B-028 through a whole worker: frames that cannot be read, and upgrades that are none."""

from __future__ import annotations

import json
import struct
from contextlib import suppress
from typing import Any

import pytest
from aiohttp import web

from .conftest import LogLines, Site, Start, words

FRAME_LIMIT = 16 * 1024 * 1024


def offer_with(text: str) -> str:
    """An offer of job `odd` whose chatTemplateKwargs are the given JSON text."""
    claim = words("odd")
    claim["task"]["chatTemplateKwargs"] = {"x": "here"}
    return json.dumps({"type": "offer", "claim": claim}).replace('"here"', text)


SKIPPED = {
    "truncated JSON": '{"type": "offer", "claim": {"jobId": "odd"',
    "a list": "[]",
    "null": "null",
    "a text": '"x"',
    "nothing": "",
    "a type that is no word": '{"type": "🦄"}',
    "a type that is a number": '{"type": 5}',
    "no type": "{}",
    "depth": "[" * 100_000 + "]" * 100_000,
    "a deep offer": '{"type": "offer", "claim": ' + '{"a": ' * 50_000 + "1" + "}" * 50_000 + "}",
    "a lone surrogate": '{"type": "completeAck", "jobId": "\\ud800"}',
    "NaN": '{"type": "welcome", "serverTime": NaN}',
    "infinity": '{"type": "failAck", "jobId": -Infinity}',
    "1e400": '{"type": "failAck", "jobId": 1e400}',
    "a long number": '{"type": "failAck", "jobId": ' + "9" * 5_000 + "}",
    "an ack without an id": '{"type": "completeAck"}',
    "an ack of a number": '{"type": "completeAck", "jobId": 5}',
    "an ack of null": '{"type": "completeAck", "jobId": null}',
    "an ack of a stranger": '{"type": "completeAck", "jobId": "stranger"}',
    "an offer without a claim": '{"type": "offer"}',
    "an offer of a list": '{"type": "offer", "claim": []}',
    "a cancel that nobody listed": '{"type": "cancel", "jobId": "odd", "reason": "x"}',
}


async def test_what_cannot_be_read_is_skipped_and_the_session_goes_on(site: Site) -> None:
    session = site.studio.session
    for text in SKIPPED.values():
        await session.send_text(text)
    await session.send_bytes(b"\x00\x01")
    await session.send_bytes(json.dumps({"type": "offer", "claim": words("binary")}).encode())
    await site.studio.offer(words("good"))
    await site.settled("good")

    assert len(site.studio.sessions) == 1
    assert site.engine.runs == {"good": 1}
    assert site.studio.violations == []


@pytest.mark.parametrize("text", ["NaN", "1e400", "-Infinity", "9" * 5_000, '"\\ud800"', "[" * 500 + "]" * 500])
async def test_what_no_json_may_carry_is_skipped_or_refused_deep_inside_an_offer(site: Site, text: str) -> None:
    site.studio.session.offered.add("odd")
    await site.studio.session.send_text(offer_with(text))
    await site.studio.offer(words("good"))
    await site.settled("good")

    fails = site.studio.of_type("fail", job_id="odd")
    assert all("chatTemplateKwargs" in fail["error"] and fail["retryable"] is False for fail in fails)
    assert site.engine.runs == {"good": 1}
    assert len(site.studio.sessions) == 1


async def test_of_two_equal_keys_no_second_meaning_comes(site: Site) -> None:
    """Either the frame is skipped or one of both is meant; never a run under one id answered under another."""
    text = json.dumps({"type": "offer", "claim": words("one")})
    site.studio.session.offered |= {"one", "two"}
    await site.studio.session.send_text(text.replace('"jobId": "one"', '"jobId": "one", "jobId": "two"'))
    await site.studio.offer(words("good"))
    await site.settled("good")

    answered = {frame["jobId"] for frame in site.studio.frames if "jobId" in frame.fields} - {"good"}
    assert answered == set(site.engine.runs) - {"good"}
    assert len(site.studio.sessions) == 1


async def test_the_largest_frame_that_may_come_is_read_and_one_more_byte_ends_the_session_with_1009(
    site: Site,
) -> None:
    await site.studio.session.send_text('{"type": "news", "x": "' + "x" * (FRAME_LIMIT - 25) + '"}')
    await site.studio.offer(words("one"))
    await site.settled("one")
    assert len(site.studio.sessions) == 1

    with suppress(ConnectionError):
        await site.studio.session.send_text('{"type": "news", "x": "' + "x" * FRAME_LIMIT + '"}')
    gone = await site.studio.gone(1)
    await site.studio.welcomed(2)
    await site.studio.offer(words("two"))
    await site.settled("two")
    assert gone.close_code in (1009, None)


async def test_a_hundred_thousand_fragments_and_empty_texts_are_survived(site: Site) -> None:
    session = site.studio.session
    text = b'{"type": "failAck", "jobId": "' + b"x" * 100_000 + b'"}'
    await session.send_raw(b"\x01\x01" + text[:1])
    for start in range(1, len(text) - 1, 1_000):
        await session.send_raw(
            b"".join(b"\x00\x01" + text[at : at + 1] for at in range(start, start + 1_000) if at < len(text) - 1)
        )
    await session.send_raw(b"\x80\x01" + text[-1:])
    await session.send_raw(b"\x81\x00" * 100_000)
    await site.studio.offer(words("good"))
    await site.settled("good")

    assert len(site.studio.sessions) == 1


@pytest.mark.parametrize(
    ("code", "reason"), [(999, b""), (1005, b""), (1006, b""), (3000, b"odd \x1b[2J \xe2\x80\xae reason"), (4999, b"")]
)
async def test_any_close_code_is_followed_by_a_new_session_and_its_reason_is_escaped(
    site: Site, log_lines: LogLines, code: int, reason: bytes
) -> None:
    payload = struct.pack(">H", code) + reason
    await site.studio.session.send_raw(b"\x88" + bytes([len(payload)]) + payload)
    await site.studio.welcomed(2)
    await site.studio.offer(words("good"))
    await site.settled("good")

    lost = log_lines.of("session.lost")[0]["extra"]["reason"]
    assert lost.isprintable()
    assert len(lost) < 500


async def test_a_close_with_a_reason_of_ten_kilobytes_costs_a_session(site: Site) -> None:
    payload = struct.pack(">H", 1000) + b"x" * 10_000
    await site.studio.session.send_raw(b"\x88\x7e" + struct.pack(">H", len(payload)) + payload)
    await site.studio.welcomed(2)
    await site.studio.offer(words("good"))
    await site.settled("good")


async def _huge_headers(request: web.Request) -> web.StreamResponse:
    return web.Response(status=101, headers={f"X-{number}": "x" * 4_000 for number in range(250)})


@pytest.mark.parametrize(
    ("answer", "expected", "got"),
    [
        pytest.param("<html>", "", "200", id="200 in place of 101"),
        pytest.param((101, "", {"Upgrade": "websocket", "Connection": "upgrade"}), "", "", id="no Accept"),
        pytest.param(
            (101, "", {"Upgrade": "websocket", "Connection": "upgrade", "Sec-WebSocket-Accept": "AAAA"}),
            "",
            "",
            id="a wrong Accept",
        ),
        pytest.param(_huge_headers, "", "", id="a megabyte of headers"),
    ],
)
async def test_an_upgrade_that_is_none_is_one_failed_try_that_says_what_came(
    start: Start, log_lines: LogLines, answer: Any, expected: str, got: str
) -> None:
    async with start() as site:
        await site.studio.welcomed()
        site.studio.upgrade_answers.once(answer)
        site.proxy.cut_all()
        await site.studio.welcomed(2)
        await site.studio.offer(words("good"))
        await site.settled("good")

    reasons = [record["extra"]["reason"] for record in log_lines.of("session.lost")]
    assert any("upgrade" in reason or "not a studio" in reason or got in reason for reason in reasons[1:]), reasons
    assert all(reason.isprintable() and len(reason) < 600 for reason in reasons)


@pytest.mark.parametrize("spoken", [None, "graphql-ws"])
async def test_another_subprotocol_is_refused_naming_both(
    start: Start, log_lines: LogLines, spoken: str | None
) -> None:
    async with start() as site:
        await site.studio.welcomed()
        site.studio.subprotocol = spoken
        site.proxy.cut_all()
        await site.until(lambda: len(log_lines.of("session.lost")) >= 2, "the refusal")
        site.studio.subprotocol = "studio-worker-v1"
        await site.studio.offer(words("good"))
        await site.settled("good")

    reason = log_lines.of("session.lost")[1]["extra"]["reason"]
    assert "studio-worker-v1" in reason
    assert (spoken or "none") in reason


@pytest.mark.parametrize(
    "fields",
    [
        {"serverTime": "yesterday"},
        {"serverTime": None},
        {"serverTime": 5},
        {"extensions": "progress"},
        {"extensions": ["x"] * 1_000_000},
        {"extensions": [5, None, "\x1b[31m"]},
        {"workerId": "\x1b[2Jw"},
        {"workerId": 7},
    ],
    ids=lambda fields: f"{next(iter(fields))} {str(next(iter(fields.values())))[:12]!r}",
)
async def test_a_welcome_with_strange_fields_is_a_welcome(start: Start, fields: dict[str, Any]) -> None:
    async with start() as site:
        await site.studio.welcomed()
        site.studio.withhold = {"welcome"}
        site.proxy.cut_all()
        session = await site.studio.connected(2)
        await site.studio.frame("hello", nth=2)
        await session.welcome(**fields)
        await session.welcome()
        await session.offer(words("good"))
        await site.settled("good")

        assert len(site.studio.sessions) == 2
