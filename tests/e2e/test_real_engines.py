"""The studio and the worker as processes, with the real engines on small models: what was asked for comes back.

Speech and its transcript have their test with the demo, which is a studio and a worker too.
"""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from aiohttp import web
from PIL import Image

from studio_worker.testing.raw_worker import Admin

pytestmark = pytest.mark.real

ENGINES = ("piper", "whisper", "llama", "sdcpp", "onnx", "acme")
TABLES = {"sdcpp": {"threads": 1}, "llama": {"threads": 1}}
WAIT_SECS = 100.0
SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 3, "maxLength": 8},
        "tags": {"type": "array", "items": {"enum": ["new", "old"]}, "minItems": 1, "maxItems": 2},
        "size": {"type": "integer", "minimum": 1, "maximum": 9},
    },
    "required": ["name", "tags", "size"],
    "additionalProperties": False,
}


def source(engine: str, file: Path, **defaults: Any) -> dict[str, Any]:
    files = [{"role": "model", "url": f"https://models.example/{file.name}", "filename": file.name}]
    return {"engine": engine, "files": files, "cliDefaults": defaults}


class Farm:
    """A studio with one worker that has one real engine."""

    def __init__(self, admin: Admin) -> None:
        self.admin = admin

    async def make(self, job: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Queue a job and follow it to its end: the job then, and the progress that the studio told of meanwhile."""
        seen: list[dict[str, Any]] = []
        async with (
            asyncio.timeout(WAIT_SECS),
            self.admin.http.get(self.admin.base + "/events", headers=self.admin.headers) as stream,
        ):
            await stream.content.readline()
            await self.admin.add(job)
            topic = ""
            async for line in stream.content:
                name, _, value = line.decode().strip().partition(": ")
                topic = value if name == "event" else topic
                told = json.loads(value) if name == "data" else {}
                if told.get("jobId") != job["id"]:
                    continue
                if topic == "progress":
                    seen.append(told)
                elif told.get("state") in ("done", "failed", "cancelled"):
                    break
        return await self.admin.job(job["id"]), seen

    async def picture(self, job_id: str) -> Image.Image:
        """The picture that a job has made."""
        route = f"{self.admin.base}/jobs/{job_id}/result"
        async with self.admin.http.get(route, headers=self.admin.headers) as answer:
            assert answer.status == 200
            return Image.open(io.BytesIO(await answer.read()))


@pytest.fixture
async def farm(machine: Any, tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    """Starts the two; `file` is put into the worker's models folder."""
    async with aiohttp.ClientSession() as http:

        async def start(plugin: str, file: Path, **environ: str) -> Farm:
            (machine.models / file.name).symlink_to(file)
            studio = await machine.start("studio", "--port", "0", "--data", str(tmp_path / "data"), "--auto-approve")
            url = (await studio.says("a worker joins by")).split("API_BASE_URL=")[1].split()[0]
            worker = await machine.start(
                "run",
                STUDIO_WORKER_API_BASE_URL=url,
                STUDIO_WORKER_DISABLED_ENGINES=",".join(name for name in ENGINES if name != plugin),
                STUDIO_WORKER_PLUGINS=json.dumps(TABLES),
                **environ,
            )
            await worker.says("The studio said welcome")
            token = json.loads((tmp_path / "data" / "admin.json").read_text())["token"]
            return Farm(Admin(http, url, token))

        yield start


@pytest.fixture
async def files() -> AsyncIterator[Callable[[str, bytes], str]]:
    """A server of this machine; what it is given is served under the URL that comes back."""
    served: dict[str, bytes] = {}

    async def serve(request: web.Request) -> web.Response:
        return web.Response(body=served[request.path])

    server = web.Application()
    server.router.add_get("/{name}", serve)
    runner = web.AppRunner(server)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()

    def add(name: str, data: bytes) -> str:
        served[f"/{name}"] = data
        return f"http://127.0.0.1:{runner.addresses[0][1]}/{name}"

    yield add
    await runner.cleanup()


def png(pixels: Any) -> bytes:
    held = io.BytesIO()
    Image.fromarray(pixels).save(held, "PNG")
    return held.getvalue()


async def test_an_answer_keeps_the_schema_that_the_studios_job_names(farm: Any, tiny_llm: Path) -> None:
    running = await farm("llama", tiny_llm)
    messages = [{"role": "user", "content": "Describe a thing."}]
    task = {"kind": "llm", "messages": messages, "maxTokens": 120, "jsonSchema": SCHEMA}
    job = {"id": "thing", "model": "tiny", "task": task, "modelSource": source("llama-cpp", tiny_llm, contextSize=220)}
    done, _ = await running.make(job)
    assert done["state"] == "done", done.get("error")
    (choice,) = done["result"]["choices"]
    thing = json.loads(choice["message"]["content"])
    assert set(thing) == {"name", "tags", "size"}
    assert 3 <= len(thing["name"]) <= 8
    assert set(thing["tags"]) <= {"new", "old"}
    assert 1 <= len(thing["tags"]) <= 2
    assert 1 <= thing["size"] <= 9
    usage = done["result"]["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] > 0


async def test_the_studio_sees_a_diffusion_picture_grow(farm: Any, sdxs: Path) -> None:
    running = await farm("sdcpp", sdxs)
    task = {"kind": "image", "prompt": "a clay cup", "width": 64, "height": 64, "steps": 2, "seed": 5, "ext": "png"}
    job = {"id": "cup", "model": "sdxs", "task": task, "modelSource": source("sd-cpp", sdxs)}
    done, seen = await running.make(job)
    assert done["state"] == "done", done.get("error")
    assert done["attempts"] == 0
    picture = await running.picture("cup")
    assert (picture.format, picture.size) == ("PNG", (64, 64))
    assert "sample" in {each["stage"] for each in seen}, seen
    assert all(0 <= each["step"] <= each["total"] for each in seen)


async def test_an_object_goes_and_every_byte_outside_the_mask_stays(farm: Any, files: Any, lama_graph: Path) -> None:
    running = await farm("onnx", lama_graph, STUDIO_WORKER_ALLOW_PRIVATE_URLS="true")
    pixels = np.random.default_rng(3).integers(0, 256, (90, 120, 3), np.uint8)
    mask = np.zeros((90, 120), np.uint8)
    mask[30:60, 50:90] = 255
    task = {
        "kind": "image",
        "prompt": "a garden",
        "initImageUrl": files("photo.png", png(pixels)),
        "maskUrl": files("mask.png", png(mask)),
        "ext": "png",
    }
    first = {"id": "clean", "model": "lama", "task": task, "modelSource": source("onnx", lama_graph)}
    done, _ = await running.make(first)
    assert done["state"] == "done", done.get("error")
    painted = np.asarray((await running.picture("clean")).convert("RGB"))
    assert painted[mask == 0].tobytes() == pixels[mask == 0].tobytes()
    assert (painted[36:54, 56:84] == (51, 153, 204)).all()

    # The result is the next job's picture, by a link that the studio signs.
    other = np.zeros((90, 120), np.uint8)
    other[70:88, 4:30] = 255
    again = {**task, "initImageUrl": "result:clean", "maskUrl": files("other.png", png(other))}
    done, _ = await running.make({**first, "id": "cleaner", "task": again})
    assert done["state"] == "done", done.get("error")
    twice = np.asarray((await running.picture("cleaner")).convert("RGB"))
    assert twice[other == 0].tobytes() == painted[other == 0].tobytes()
    assert (twice[76:82, 10:24] == (51, 153, 204)).all()
