"""Played in a network of its own: a worker, its studio at addresses of that network, and a server of names that errs.

``unshare -rmn python -m tests.faults.names_stage SCENE FOLDER`` plays a scene, and prints what was seen as JSON.
"""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
from asyncio import DatagramProtocol, DatagramTransport
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from dnslib import QTYPE, RCODE, RR, A, DNSRecord
from loguru import logger

from studio_worker import Config, Worker
from studio_worker.testing.scripted_studio import ScriptedStudio
from studio_worker.wire.tasks import parse_task

from .conftest import QUICK, Counting, HurriedClock, words

NAME, PORT = "studio.example", 4100
PATIENT = replace(QUICK, request_secs=20.0, upgrade_secs=20.0)
HOMES = ("192.0.2.1", "192.0.2.2")
ANSWER_SECS = 2.0
"""How long a server of names that is slow takes; the real one of the catalogue takes ten."""

SYSTEM_SECS = 30
"""How long the system waits for a server of names before it asks again."""


class NameServer(DatagramProtocol):
    """Answers for the one name with `homes`, or with `rcode`, after `delay_secs`; with neither it says nothing."""

    def __init__(self) -> None:
        self.homes: tuple[str, ...] = HOMES[:1]
        self.rcode: str | None = None
        self.delay_secs = 0.0
        self.asked: list[str] = []
        self._transport: DatagramTransport | None = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        question = DNSRecord.parse(data)
        self.asked.append(QTYPE[question.q.qtype])
        reply = question.reply()
        if self.rcode is not None:
            reply.header.rcode = getattr(RCODE, self.rcode)
        elif not self.homes:
            return
        elif question.q.qtype == QTYPE.A:
            for home in self.homes:
                reply.add_answer(RR(question.q.qname, QTYPE.A, rdata=A(home), ttl=0))
        assert self._transport is not None
        asyncio.get_running_loop().call_later(self.delay_secs, self._transport.sendto, reply.pack(), addr)


def prepare(folder: Path) -> None:
    """Addresses for the loopback device, and this network's server of names for the system's resolver."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for home in HOMES:
        subprocess.run(["ip", "address", "add", f"{home}/32", "dev", "lo"], check=True)
    settings = {
        "/etc/resolv.conf": f"nameserver 127.0.0.1\noptions timeout:{SYSTEM_SECS} attempts:1\n",
        "/etc/nsswitch.conf": "hosts: files dns\n",
    }
    for path, text in settings.items():
        own = folder / Path(path).name
        own.write_text(text)
        subprocess.run(["mount", "--bind", str(own), path], check=True)


def silent_home(host: str) -> list[socket.socket]:
    """Sockets that make an address take no connection more and say nothing: the queue of a listener, filled."""
    listener = socket.socket()
    listener.bind((host, PORT))
    listener.listen(0)
    held = [listener]
    while True:
        caller = socket.socket()
        caller.settimeout(0.3)
        held.append(caller)
        try:
            caller.connect((host, PORT))
        except TimeoutError:
            return held


class Stage:
    """What a scene has: the names, a worker, and what was noticed."""

    def __init__(self, folder: Path) -> None:
        self.names = NameServer()
        self.engine = Counting()
        self.said: dict[str, Any] = {}
        self.lags: list[float] = []
        self.troubles: list[str] = []
        self.folder = folder

    async def watch_loop(self) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.005)
            self.lags.append(time.monotonic() - before)

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[Worker]:
        logger.enable("studio_worker")
        logger.add(lambda line: self.troubles.append(str(line.record["extra"])), level="WARNING")
        config = Config(
            api_base_url=f"http://{NAME}:{PORT}/",
            state_dir=self.folder / "state",
            models_root=self.folder / "models",
            register_poll_secs=0.05,
            reconnect_base_secs=0.02,
            disabled_engines=("llama", "onnx", "piper", "sdcpp", "synthetic", "whisper"),
        )
        async with Worker(config, engines=[self.engine], clock=HurriedClock(), timings=PATIENT) as worker:
            yield worker
            await worker.abandon()

    async def until(self, ready: Callable[[], Any]) -> None:
        async with asyncio.timeout(20):
            while not ready():
                await asyncio.sleep(0.005)

    async def job(self, studio: ScriptedStudio, job_id: str) -> None:
        await studio.offer(words(job_id))
        await studio.until(lambda: job_id in studio.done, what=job_id)


async def refused(stage: Stage) -> None:
    """The server of names answers with an error, and later with the address."""
    stage.names.rcode = sys.argv[3]
    async with ScriptedStudio(host=HOMES[0], port=PORT) as studio, stage.worker():
        await stage.until(lambda: len(stage.names.asked) > 8)
        stage.names.rcode = None
        await studio.welcomed()
        await stage.job(studio, "job-1")
    stage.said["named"] = sum(f"the name of {NAME}:{PORT} cannot be resolved" in each for each in stage.troubles)


async def slow(stage: Stage) -> None:
    """Each answer comes late; the loop turns meanwhile, and jobs of this machine run."""
    stage.names.delay_secs = ANSWER_SECS
    async with ScriptedStudio(host=HOMES[0], port=PORT) as studio, stage.worker() as worker:
        await stage.until(lambda: stage.names.asked)
        watching = asyncio.create_task(stage.watch_loop())
        task = words("local")["task"]
        for number in range(20):
            await worker.submit(parse_task(task), model="acme-llm")
            stage.said["local jobs before an answer"] = 0 if studio.requests else number + 1
        await studio.welcomed()
        watching.cancel()
        await stage.job(studio, "job-1")


async def silent(stage: Stage) -> None:
    """No answer comes at all, and the worker is told to stop."""
    stage.names.homes = ()
    async with stage.worker():
        await stage.until(lambda: stage.names.asked)


async def second(stage: Stage) -> None:
    """The first of two addresses is dead: it takes no connection, and refuses none."""
    stage.names.homes = HOMES
    loop = asyncio.get_running_loop()
    found = [entry[4][0] for entry in await loop.getaddrinfo(NAME, PORT, type=socket.SOCK_STREAM)]
    held = await asyncio.to_thread(silent_home, found[0])
    async with ScriptedStudio(host=str(found[1]), port=PORT) as studio, stage.worker():
        await studio.welcomed()
        await stage.job(studio, "job-1")
    stage.said["order"] = found
    for each in held:
        each.close()


async def moved(stage: Stage) -> None:
    """The name gets another address under a session: that goes on, and the next one goes there."""
    async with (
        ScriptedStudio(host=HOMES[0], port=PORT) as old,
        ScriptedStudio(host=HOMES[1], port=PORT) as new,
        stage.worker(),
    ):
        await old.welcomed()
        stage.names.homes, new.token = HOMES[1:], old.token
        await old.heartbeat()
        await stage.job(old, "job-1")
        stage.said["sessions before"] = [len(old.sessions), len(new.sessions)]
        old.session.abort()
        await new.welcomed()
        await stage.job(new, "job-2")
        stage.said["sessions after"] = [len(old.sessions), len(new.sessions)]


async def main(scene: str, folder: Path) -> None:
    prepare(folder)
    stage = Stage(folder)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: stage.names, local_addr=("127.0.0.1", 53))
    await {"refused": refused, "slow": slow, "silent": silent, "second": second, "moved": moved}[scene](stage)
    transport.close()
    asked = len(stage.names.asked)
    runs = dict(stage.engine.runs)
    print(json.dumps({**stage.said, "asked": asked, "runs": runs, "lag_secs": max(stage.lags, default=0.0)}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
