"""A worker and an admin driven by hand, frame by frame: for testing a studio that keeps the protocol."""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
import uuid
from typing import Any, Self

import aiohttp

from studio_worker.wire.frames import SUBPROTOCOL
from studio_worker.wire.urls import PREFIX

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c63f8713ee03f0007f1031701"
    "4460360000000049454e44ae426082"
)
"""A whole picture of one pixel."""


def llm_job(job_id: str, **more: Any) -> dict[str, Any]:
    """A line of jobs.jsonl whose result is JSON."""
    return {
        "id": job_id,
        "model": "talker",
        "task": {"kind": "llm", "messages": [{"role": "user", "content": "Hello"}]},
        "modelSource": {"engine": "synthetic", "files": [], "cliDefaults": {}},
        **more,
    }


def image_job(job_id: str, **more: Any) -> dict[str, Any]:
    """A line of jobs.jsonl whose result is bytes."""
    return {
        "id": job_id,
        "model": "painter",
        "task": {"kind": "image", "prompt": "A fox", "ext": "png"},
        "modelSource": {"engine": "synthetic", "files": [], "cliDefaults": {}},
        **more,
    }


def capabilities(**more: Any) -> dict[str, Any]:
    """What a worker of every kind says of itself; `more` replaces members."""
    kinds = ["image", "llm", "audio_stt", "audio_tts", "video"]
    return {
        "machineName": "bench-1",
        "username": "ada",
        "agentVersion": "0.1.0",
        "engine": "multi",
        "vramTotalGb": 24.0,
        "vramThresholdGb": 12.0,
        "autoEnabled": True,
        "autoStart": False,
        "supportedModels": ["synthetic"],
        "taskKinds": kinds,
        "supportedModelsPerKind": {kind: ["synthetic"] for kind in kinds},
        "sources": {kind: ["synthetic"] for kind in kinds},
        **more,
    }


class Admin:
    """The admin routes over HTTP."""

    def __init__(self, http: aiohttp.ClientSession, url: str, token: str) -> None:
        self.http = http
        self.base = url + PREFIX
        self.headers = {"Authorization": f"Bearer {token}"}

    async def call(self, method: str, path: str, body: Any = None, **more: Any) -> tuple[int, Any]:
        """Status and JSON of any admin route."""
        async with self.http.request(method, self.base + path, json=body, headers=self.headers, **more) as response:
            text = await response.text()
            return response.status, json.loads(text) if text else None

    async def get(self, path: str) -> Any:
        """The JSON of a GET that must succeed."""
        status, value = await self.call("GET", path)
        assert status == 200, value
        return value

    async def add(self, job: dict[str, Any]) -> str:
        """Queue a job that must be taken; its id."""
        status, value = await self.call("POST", "/jobs", job)
        assert status == 201, value
        return str(value["jobId"])

    async def job(self, job_id: str) -> Any:
        """One job."""
        return await self.get(f"/jobs/{job_id}")

    async def until(self, job_id: str, state: str) -> Any:
        """The job once it is in a state, told by the event stream rather than by waiting."""
        async with self.http.get(self.base + "/events", headers=self.headers) as stream:
            await stream.content.readline()
            while (job := await self.job(job_id))["state"] != state:
                async with asyncio.timeout(10):
                    while not (await stream.content.readline()).startswith(b"data:"):
                        pass
            return job


class RawWorker:
    """One worker's socket, driven frame by frame."""

    def __init__(self, http: aiohttp.ClientSession, url: str, worker_id: str, token: str) -> None:
        self.http = http
        self.base = url + PREFIX
        self.worker_id = worker_id
        self.token = token
        self.socket: aiohttp.ClientWebSocketResponse | None = None
        self.welcome: dict[str, Any] = {}

    @classmethod
    async def admitted(cls, http: aiohttp.ClientSession, url: str, admin: Admin, **caps: Any) -> Self:
        """Register, be approved by `admin`, poll: a worker that may connect."""
        secret = secrets.token_hex(32)
        base = url + PREFIX
        async with http.post(f"{base}/workers/register-request", json=registration(secret=secret, **caps)) as answer:
            request_id = (await answer.json())["requestId"]
        await admin.call("POST", f"/workers/pending/{request_id}/approve")
        poll = f"{base}/workers/register-requests/{request_id}"
        async with http.get(poll, headers={"Authorization": f"Bearer {secret}"}) as answer:
            decided = await answer.json()
        return cls(http, url, decided["workerId"], decided["authToken"])

    async def open(self, token: str | None = None) -> None:
        """The upgrade alone."""
        self.socket = await self.http.ws_connect(
            f"{self.base}/workers/{self.worker_id}/connect",
            headers={"Authorization": f"Bearer {token or self.token}"},
            protocols=(SUBPROTOCOL,),
            max_msg_size=0,
        )

    async def connect(self, **caps: Any) -> Self:
        """The upgrade, hello and welcome."""
        await self.open()
        await self.send("hello", authToken=self.token, capabilities=capabilities(**caps))
        self.welcome = await self.receive("welcome")
        return self

    async def send(self, kind: str, **fields: Any) -> None:
        """Send one frame."""
        assert self.socket
        await self.socket.send_str(json.dumps({"type": kind, **fields}))

    async def beat(self, **caps: Any) -> None:
        """Send a heartbeat."""
        await self.send("heartbeat", capabilities=capabilities(**caps))

    async def receive(self, kind: str | None = None) -> dict[str, Any]:
        """The next frame; heartbeatAcks are passed over unless they are what is asked for."""
        assert self.socket
        while True:
            message = await self.socket.receive(timeout=10)
            assert message.type is aiohttp.WSMsgType.TEXT, f"{message.type} {message.data} {message.extra}"
            frame = json.loads(message.data)
            if kind is not None and frame["type"] != kind and frame["type"] == "heartbeatAck":
                continue
            assert kind is None or frame["type"] == kind, frame
            return dict(frame)

    async def offer(self) -> dict[str, Any]:
        """The claim of the next offer."""
        return dict((await self.receive("offer"))["claim"])

    async def nothing(self) -> None:
        """Assert that the studio has nothing else to say: the ack of a heartbeat comes first."""
        await self.beat()
        frame = await self.receive()
        assert frame["type"] == "heartbeatAck", frame

    async def closed(self) -> int:
        """The close code, once the studio has closed; frames before it are passed over."""
        assert self.socket
        while True:
            message = await self.socket.receive(timeout=10)
            if message.type is aiohttp.WSMsgType.CLOSE:
                return int(message.data)
            if message.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSING):
                return int(self.socket.close_code or 0)

    async def close(self) -> None:
        """Leave."""
        assert self.socket
        await self.socket.close()

    async def upload(
        self, job_id: str, data: bytes = PNG, *, token: str | None = None, worker_id: str | None = None, **texts: str
    ) -> tuple[int, Any]:
        """Upload a result; status and JSON of the answer. `texts` adds or replaces text parts."""
        form = aiohttp.FormData()
        for name, text in {"prompt": "A fox", "ext": "png", **texts}.items():
            form.add_field(name, text)
        form.add_field("image", data, filename=f"{job_id}.png", content_type="image/png")
        url = f"{self.base}/workers/{worker_id or self.worker_id}/jobs/{job_id}/complete"
        headers = {"Authorization": f"Bearer {token or self.token}"}
        async with self.http.post(url, data=form, headers=headers) as response:
            return response.status, await response.json()


def registration(install_id: str | None = None, secret: str = "s" * 64, **caps: Any) -> dict[str, Any]:
    """A registration request's body."""
    return {
        "installId": install_id or str(uuid.uuid4()),
        "registrationSecretHash": hashlib.sha256(secret.encode()).hexdigest(),
        "capabilities": capabilities(**caps),
        "userAgent": "studio-worker/0.1.0",
    }
