"""Bad input B-027, B-125, B-126 and B-127: text from a studio forges no line and drives no terminal, in any log."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from studio_worker.testing.claims import claim, image_claim, llm_claim
from studio_worker.testing.scripted_session import ScriptedSession
from studio_worker.testing.scripted_studio import ScriptedStudio

FORGED = "2026-01-01 00:00:00 ERROR forged"
NASTY = (
    f"ok\n{FORGED}\r\n\x1b[2J\x1b]0;owned\x07 \x9b31m \x00 \x7f \u202eabc\u2066 \u2028 \u200b \ufeff "
    "{job[0]} {} %s %(x)s [/nope] [red]red[/red] <level>x</level> \\N{BULLET}"
)
"""Line ends, escape sequences, C1, bidirectional and invisible characters, and the markup of three libraries."""

SECRET = "5ec2e7" * 10


class Printed:
    """What a worker's process printed."""

    def __init__(self, stdout: bytes, stderr: bytes, code: int) -> None:
        self.stdout = stdout.decode()
        self.stderr = stderr.decode()
        self.code = code

    @property
    def lines(self) -> list[str]:
        return [*self.stdout.split("\n"), *self.stderr.split("\n")]


async def hostile_day(studio: ScriptedStudio) -> None:
    """Say something nasty wherever a studio can say anything, and end with a refusal of a megabyte."""
    session = await studio.welcomed()
    claims = [
        llm_claim("prompt", messages=[{"role": "user", "content": NASTY}]),
        image_claim("kept", prompt=NASTY),
        image_claim("refused", prompt=NASTY),
        image_claim("model", claim_fields={"model": NASTY}),
        image_claim("engine", claim_fields={"engine": NASTY}),
        image_claim("stranger", claim_fields={"engine": "nobody", "model": NASTY}),
        image_claim("field", ext=NASTY),
        image_claim("url", initImageUrl=f"http://127.0.0.1:9/{NASTY}"),
        image_claim(
            "file", claim_fields={"files": [{"role": "model", "url": "https://x.example/", "filename": NASTY}]}
        ),
        claim({"kind": NASTY}, "kind"),
        claim({"kind": "image", "prompt": "x"}, NASTY),
    ]
    studio.upload_answers.once(None, (418, NASTY))
    for raw in claims:
        job_id = raw["jobId"]
        await studio.offer(raw)
        ends: Callable[[], Any] = lambda job_id=job_id: (  # noqa: E731
            studio.of_type("fail", job_id=job_id) or studio.of_type("reject", job_id=job_id) or job_id in studio.done
        )
        await studio.until(ends, what=f"an end of {job_id!r}")
    for frame in (
        {"type": NASTY},
        {"type": "completeAck", "jobId": NASTY},
        {"type": "failAck", "jobId": NASTY},
        {"type": "cancel", "jobId": NASTY, "reason": NASTY},
        {"type": "offer", "claim": {"jobId": {"a": NASTY}}},
    ):
        await session.send(frame)
    await session.send_text(NASTY)
    await session.send({"type": "error", "code": NASTY, "message": NASTY})
    session = await studio.welcomed(2)
    await session.close(4000, NASTY[:100])
    session = await studio.welcomed(3)
    await studio.heartbeat()

    async def refused(session: ScriptedSession) -> None:
        await session.refuse("worker_deleted", NASTY + "x" * 1_000_000)

    # A refusal can be lost with its connection: where the worker was still writing, the kernel resets it. A studio
    # that has deleted a worker says so again.
    studio.on_welcome = refused
    await refused(session)


@pytest.fixture
async def studio() -> AsyncIterator[ScriptedStudio]:
    async with ScriptedStudio() as studio:
        studio.token = SECRET
        studio.extensions = ("cancel", "progress", NASTY)
        studio.worker_id = "w-1"
        studio.register_answers.once({"requestId": NASTY, "status": NASTY}, (400, NASTY))

        async def on_welcome(session: ScriptedSession) -> None:
            await session.send({"type": "welcome", "workerId": NASTY, "serverTime": NASTY})

        studio.on_welcome = on_welcome
        yield studio


async def printed(studio: ScriptedStudio, home: Path, *options: str) -> Printed:
    """A worker's process through the hostile day."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "studio_worker",
        *options,
        "run",
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
            "HOME": str(home),
            "STUDIO_WORKER_API_BASE_URL": studio.url,
            "STUDIO_WORKER_LOCAL_API_PORT": "0",
            "STUDIO_WORKER_REGISTER_POLL_SECS": "0.05",
            "STUDIO_WORKER_RECONNECT_BASE_SECS": "0.02",
            "STUDIO_WORKER_MACHINE_NAME": "[/nope] {job[0]}",
        },
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    reading = asyncio.create_task(process.communicate())
    try:
        async with asyncio.timeout(30):
            await hostile_day(studio)
            await process.wait()
    except TimeoutError:
        pytest.fail(f"the worker goes on after its refusal: {studio.summary()}")
    finally:
        if process.returncode is None:
            process.kill()
        out, err = await reading
        print(err.decode()[-5_000:])
    return Printed(out, err, process.returncode or 0)


@pytest.mark.parametrize("options", [(), ("--log-level", "debug"), ("--log-json",)], ids=["text", "debug", "json"])
async def test_nothing_that_a_studio_says_forges_a_line_or_drives_a_terminal(
    studio: ScriptedStudio, tmp_path: Path, options: tuple[str, ...]
) -> None:
    said = await printed(studio, tmp_path, *options)

    assert said.code == 77, said.stderr
    assert "{job[0]}" in said.stderr
    for line in said.lines:
        assert line.isprintable(), repr(line)
        assert not line.startswith(FORGED)
        assert len(line) < 10_000
    assert "debug" in options or "Traceback" not in said.stderr
    assert "Logging error" not in said.stderr
    assert SECRET not in said.stderr + said.stdout
    if "--log-json" in options:
        for line in said.stderr.splitlines():
            if line.startswith("{"):
                record = json.loads(line)
                assert record["level"] in ("debug", "info", "warning", "error", "critical")
                assert "forged" not in record["level"]
        assert sum(line.startswith("{") for line in said.stderr.splitlines()) > 20
    shipped = [entry for batch in studio.of_type("logBatch") for entry in batch["entries"]]
    assert shipped
    assert all(entry["message"].isprintable() for entry in shipped)
    assert all(fail["error"].isprintable() for fail in studio.of_type("fail"))
