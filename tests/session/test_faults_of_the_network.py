"""Faults F-01 to F-16 of the network, and F-52, as far as they concern the session."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import ssl
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
import trustme

from studio_worker.errors import ReconnectBudgetSpent
from studio_worker.events import SessionLost, SessionOpened
from studio_worker.session.connection import Connection, UpgradeFailed
from studio_worker.session.studio_http import open_http
from studio_worker.testing import answers
from studio_worker.testing.claims import llm_claim
from studio_worker.testing.scripted_studio import ScriptedStudio
from studio_worker.testing.toxics import Cut, Latency, Slice, Swallow, ToxicProxy
from studio_worker.wire.urls import StudioUrls

from .conftest import IMPATIENT, QUICK, Kept, keeping


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def lost(kept: Kept) -> list[str]:
    return [event.reason for event in kept.events.of(SessionLost)]


async def test_a_closed_port_is_tried_again_for_ever_without_a_budget(studio: ScriptedStudio) -> None:
    port = free_port()
    async with keeping(studio, url=f"http://127.0.0.1:{port}/", base_secs=0.001) as kept:
        while len(lost(kept)) < 10:
            await asyncio.sleep(0.005)
        assert not kept.task.done()

    assert f"127.0.0.1:{port} cannot be reached" in lost(kept)[0]
    waits = [event.retry_in_secs for event in kept.events.of(SessionLost)]
    assert all(0.75 * 0.001 * 2**n <= wait <= 0.001 * 2**n for n, wait in enumerate(waits[:8]))


async def test_a_budget_that_is_spent_ends_with_69(studio: ScriptedStudio) -> None:
    url = f"http://127.0.0.1:{free_port()}/"
    async with keeping(studio, url=url, base_secs=0.001, reconnect_attempts=3) as kept:
        error = await kept.outcome()

    assert isinstance(error, ReconnectBudgetSpent)
    assert error.exit_code == 69
    assert "ws_reconnect_attempts" in str(error)
    assert len(lost(kept)) == 3


async def test_a_reset_in_the_upgrade_is_one_failed_try(studio: ScriptedStudio) -> None:
    # Twice, since aiohttp asks an idempotent request once more by itself.
    studio.upgrade_answers.once(answers.reset, answers.reset)
    async with keeping(studio) as kept:
        await studio.welcomed()

    assert len(lost(kept)) == 1


@pytest.mark.parametrize("at", range(0, 900, 60))
@pytest.mark.parametrize("way", ["up", "down"])
async def test_a_cut_anywhere_in_the_opening_is_survived(studio: ScriptedStudio, at: int, way: str) -> None:
    async with ToxicProxy(studio.port) as proxy:
        proxy.toxics = [Cut(after_bytes=at, way=way, connections=(1,))]  # type: ignore[arg-type]
        async with keeping(studio, url=proxy.url):
            while proxy.connections < 2:
                await asyncio.sleep(0.005)
            await studio.heartbeat()
            await studio.heartbeat()
            await studio.offer(llm_claim("job-1"))
            await studio.frame("accept", job_id="job-1")

        assert proxy.receipts
    assert studio.violations == []


async def test_a_half_open_connection_is_dead_after_the_silence(studio: ScriptedStudio) -> None:
    async with ToxicProxy(studio.port) as proxy:
        proxy.toxics = [Swallow(after_bytes=700, way="both", connections=(1,))]
        async with keeping(studio, url=proxy.url, timings=IMPATIENT) as kept:
            while proxy.connections < 2:
                await asyncio.sleep(0.01)
            await studio.heartbeat()

        assert {receipt.toxic for receipt in proxy.receipts} == {"swallow"}
    assert "no " in lost(kept)[0]


async def test_sends_that_vanish_end_the_session_by_their_missing_acks(studio: ScriptedStudio) -> None:
    async def chatter() -> None:
        while True:
            if studio.sessions and not studio.session.ended.is_set():
                await studio.session.send({"type": "failAck", "jobId": "x"})
            await asyncio.sleep(0.02)

    talk = asyncio.create_task(chatter())
    async with ToxicProxy(studio.port) as proxy:
        proxy.toxics = [Swallow(after_bytes=1_500, way="up", connections=(1,))]
        async with keeping(studio, url=proxy.url, timings=IMPATIENT) as kept:
            await studio.welcomed(2)

        assert [receipt.way for receipt in proxy.receipts] == ["up"]
    talk.cancel()
    await asyncio.gather(talk, return_exceptions=True)
    assert "no heartbeatAck" in lost(kept)[0]


async def test_a_connect_that_hangs_is_given_up_in_time() -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        urls = StudioUrls.parse(f"http://127.0.0.1:{deaf.getsockname()[1]}")
        async with open_http(urls) as http:
            before = asyncio.get_running_loop().time()
            with pytest.raises(UpgradeFailed, match=r"no upgrade by 127\.0\.0\.1:\d+ within 0\.2 s"):
                await Connection.open(http, urls.connect("w-1"), "token", upgrade_secs=0.2)
            assert asyncio.get_running_loop().time() - before < 1.0


async def test_an_upgrade_that_drips_is_given_up_in_total() -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            for byte in b"HTTP/1.1 101 Switching Protocols\r\n" * 100:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0.02)
        except OSError:
            return
        finally:
            writer.close()

    async with await asyncio.start_server(drip, "127.0.0.1", 0) as server:
        urls = StudioUrls.parse(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        async with open_http(urls) as http:
            with pytest.raises(UpgradeFailed, match="no upgrade"):
                await Connection.open(http, urls.connect("w-1"), "token", upgrade_secs=0.2)


async def test_slices_of_three_bytes_change_nothing(studio: ScriptedStudio) -> None:
    async with ToxicProxy(studio.port) as proxy:
        proxy.toxics = [Slice(3)]
        async with keeping(studio, url=proxy.url, timings=replace(QUICK, heartbeat_secs=0.2)) as kept:
            await studio.offer(llm_claim("job-1"))
            await studio.frame("accept", job_id="job-1")
            await studio.heartbeat()

        assert proxy.receipts
    assert lost(kept) == []


async def test_latency_within_the_bounds_is_no_dead_session(studio: ScriptedStudio) -> None:
    timings = replace(QUICK, ack_secs=1.5, silence_secs=2.0)
    async with ToxicProxy(studio.port, seed=3) as proxy:
        proxy.toxics = [Latency(0.1, 0.1)]
        async with keeping(studio, url=proxy.url, timings=timings) as kept:
            await studio.frame("heartbeat", nth=12)

        assert proxy.receipts
    assert lost(kept) == []


@pytest.mark.parametrize("flaw", ["wrong name", "unknown authority", "expired", "of tomorrow"])
async def test_a_certificate_that_is_not_trusted_is_refused_by_name(flaw: str) -> None:
    authority, other = trustme.CA(), trustme.CA()
    day = timedelta(days=1)
    expiry = datetime.now(UTC) - day if flaw == "expired" else None
    begin = datetime.now(UTC) + day if flaw == "of tomorrow" else None
    name = "studio.example" if flaw == "wrong name" else "127.0.0.1"
    issuer = other if flaw == "unknown authority" else authority
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issuer.issue_cert(name, not_before=begin, not_after=expiry).configure_cert(context)
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    async with ScriptedStudio(tls=context) as studio, keeping(studio, tls=trust) as kept:
        while not lost(kept):
            await asyncio.sleep(0.01)

    assert f"127.0.0.1:{studio.port}" in lost(kept)[0]
    assert "certificate" in lost(kept)[0]
    words = {"wrong name": "mismatch", "unknown authority": "unable to get", "of tomorrow": "not yet valid"}
    assert words.get(flaw, flaw) in lost(kept)[0]
    assert studio.requests == []


async def test_a_handshake_that_is_cut_in_the_middle_is_tried_again() -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    async with ScriptedStudio(tls=context) as studio, ToxicProxy(studio.port) as proxy:
        # The worker's greeting goes through, and the link ends in the midst of the studio's.
        proxy.toxics = (Cut(64, "down"),)
        async with keeping(studio, url=proxy.url.replace("http://", "https://"), tls=trust) as kept:
            while len(lost(kept)) < 2:
                await asyncio.sleep(0.01)
            assert studio.requests == []
            proxy.toxics = ()
            await studio.welcomed()
        assert all(f"127.0.0.1:{proxy.port} cannot be reached" in reason for reason in lost(kept))


async def test_a_captive_portal_is_no_studio_and_no_refusal(studio: ScriptedStudio) -> None:
    studio.upgrade_answers.once(
        "<html>Welcome to our Wi-Fi</html>", (302, "", {"Location": "http://127.0.0.1:9/login"})
    )
    async with keeping(studio) as kept:
        await studio.welcomed()

    first, second = lost(kept)
    assert "200 and text/html" in first
    assert "redirects to http://127.0.0.1:9/login: that is not a studio" in second


async def test_a_redirect_of_the_upgrade_is_never_followed(studio: ScriptedStudio) -> None:
    async with ScriptedStudio() as thief:
        studio.upgrade_answers.once((307, "", {"Location": StudioUrls.parse(thief.url).connect("w-1")}))
        async with keeping(studio):
            await studio.welcomed()

        assert thief.requests == []


async def test_flapping_leaks_neither_descriptors_nor_tasks(studio: ScriptedStudio) -> None:
    rng = Random(16)
    quick = replace(QUICK, settled_secs=0.0)
    async with (
        ToxicProxy(studio.port, seed=16) as proxy,
        keeping(studio, url=proxy.url, base_secs=0.001, timings=quick) as kept,
    ):
        await studio.welcomed()
        gc.collect()
        descriptors, tasks = len(os.listdir("/proc/self/fd")), len(asyncio.all_tasks())
        for _ in range(200):
            opened = len(kept.events.of(SessionOpened))
            proxy.cut_all(by_reset=rng.random() < 0.5)
            while len(kept.events.of(SessionOpened)) == opened:
                await asyncio.sleep(0.001)
        await studio.heartbeat()
        gc.collect()
        # The ends of the last cuts may still be on their way out.
        assert len(os.listdir("/proc/self/fd")) <= descriptors + 8
        assert len(asyncio.all_tasks()) <= tasks + 6


async def test_an_upgrade_through_a_proxy_that_refuses_names_it_and_hides_its_password(
    studio: ScriptedStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        monkeypatch.setenv("HTTPS_PROXY", f"http://ada:hunter2secret@127.0.0.1:{port}")
        monkeypatch.setenv("NO_PROXY", "")
        async with keeping(studio, url="https://studio.invalid/") as kept:
            while not lost(kept):
                await asyncio.sleep(0.01)

    assert "proxy" in lost(kept)[0]
    assert "407" in lost(kept)[0]
    assert "hunter2secret" not in lost(kept)[0]


async def test_a_tls_studio_is_reached_through_the_environments_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("studio.invalid").configure_cert(context)
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    seen: list[bytes] = []
    async with ScriptedStudio(tls=context) as studio:

        async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            seen.append(await reader.readuntil(b"\r\n\r\n"))
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", studio.port)
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")

            async def pipe(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
                while data := await source.read(65_536):
                    sink.write(data)
                sink.close()

            await asyncio.gather(pipe(reader, far_writer), pipe(far_reader, writer), return_exceptions=True)

        async with await asyncio.start_server(tunnel, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            monkeypatch.setenv("HTTPS_PROXY", f"http://ada:secret@127.0.0.1:{port}")
            monkeypatch.setenv("NO_PROXY", "")
            async with keeping(studio, url="https://studio.invalid/", tls=trust) as kept:
                await studio.welcomed()
                await studio.heartbeat()

    assert seen[0].startswith(b"CONNECT studio.invalid:443")
    assert b"Proxy-Authorization: Basic" in seen[0]
    assert b"Bearer" not in seen[0]
    assert lost(kept) == []
