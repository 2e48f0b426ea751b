"""Pictures from a ComfyUI server: a workflow is queued, followed over its WebSocket, and its picture fetched."""

from __future__ import annotations

import asyncio
import io
import json
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio_worker import (
    Available,
    Engine,
    EngineCapabilities,
    EngineError,
    EngineJob,
    ImageResult,
    ImageTask,
    TaskKind,
    Unavailable,
    UnsupportedTask,
)
from studio_worker_bridge import server

if TYPE_CHECKING:
    import aiohttp

URL = "comfyui_url"
PREVIEW_HEAD = 8
"""Bytes before the picture in a preview: the kind of event, the kind of picture."""


class ComfyUiEngine(Engine):
    """Runs a workflow of ComfyUI with the task's values in it.

    Args:
        settings: `comfyui_url`; `comfyui_models`, the checkpoint files to advertise; `comfyui_workflow`, a workflow
            saved in ComfyUI's API format, in which ``"{prompt}"``, ``"{seed}"`` and the like stand for the values.
    """

    name = "comfyui"
    isolation = "loop"

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._url = server.address(settings, URL)
        self._models = server.names(settings, "comfyui_models", "comfyui:*")
        self._workflow = Path(settings.get("comfyui_workflow") or Path(__file__).with_name("workflow.json"))

    def capabilities(self) -> EngineCapabilities:
        """The checkpoints that the settings name."""
        return EngineCapabilities({TaskKind.IMAGE: self._models})

    def availability(self) -> Available | Unavailable:
        """Whether a server is named and the workflow is there."""
        if not self._workflow.is_file():
            return Unavailable(f"there is no workflow {self._workflow}", "save one in ComfyUI: File, Export (API)")
        return server.named(self._url, URL, "http://127.0.0.1:8188")

    async def run(self, job: EngineJob) -> ImageResult:
        """Queue, follow, fetch. A cancelled job is taken off the server's queue."""
        task = checked(job)
        template = json.loads(await asyncio.to_thread(self._workflow.read_text, "utf-8"))
        workflow = filled(template, values(task, job.model, job.seed))
        me = uuid.uuid4().hex
        async with server.client(self._url) as http, http.ws_connect(f"{self._url}/ws?clientId={me}") as socket:
            async with http.post(f"{self._url}/prompt", json={"prompt": workflow, "client_id": me}) as response:
                queued = str(server.read_json(await server.answer(response)).get("prompt_id"))
            try:
                await follow(job, socket, queued)
            except asyncio.CancelledError:
                await self._withdraw(http, queued)
                raise
            return await self._fetch(http, queued, task.ext)

    async def _fetch(self, http: aiohttp.ClientSession, queued: str, ext: str) -> ImageResult:
        async with http.get(f"{self._url}/history/{queued}") as response:
            told = server.read_json(await server.answer(response)).get(queued) or {}
        pictures = [picture for node in told.get("outputs", {}).values() for picture in node.get("images", [])]
        if not pictures:
            raise EngineError("the workflow has made no picture: it needs a SaveImage node", retryable=False)
        where = {key: str(pictures[0].get(key, "")) for key in ("filename", "subfolder", "type")}
        async with http.get(f"{self._url}/view", params=where) as response:
            data = await server.answer(response)
        return await asyncio.to_thread(converted, data, ext)

    async def _withdraw(self, http: aiohttp.ClientSession, queued: str) -> None:
        """Nobody waits for the picture any more; a server that cannot be told is no news then."""
        import aiohttp

        with suppress(aiohttp.ClientError, TimeoutError):
            await asyncio.wait_for(self._tell(http, queued), 2)

    async def _tell(self, http: aiohttp.ClientSession, queued: str) -> None:
        for route, body in (("queue", {"delete": [queued]}), ("interrupt", {"prompt_id": queued})):
            async with http.post(f"{self._url}/{route}", json=body):
                pass


def checked(job: EngineJob) -> ImageTask:
    """The task.

    Raises:
        UnsupportedTask: the job has a picture to begin from, for which a workflow has no place.
    """
    if not isinstance(job.task, ImageTask) or job.inputs:
        raise UnsupportedTask("this workflow makes pictures from text alone")
    return job.task


def values(task: ImageTask, model: str, seed: int) -> dict[str, Any]:
    """What the places of a workflow stand for."""
    return {
        "model": model,
        "prompt": task.prompt,
        "negative_prompt": task.negative_prompt or "",
        "width": task.width,
        "height": task.height,
        "steps": task.steps,
        "cfg_scale": task.cfg_scale or 7.0,
        "seed": seed,
    }


def filled(workflow: Any, found: Mapping[str, Any]) -> Any:
    """The workflow with each text that is a place, and nothing else, replaced by its value."""
    match workflow:
        case dict():
            return {key: filled(value, found) for key, value in workflow.items()}
        case list():
            return [filled(value, found) for value in workflow]
        case str() if workflow.startswith("{") and workflow.endswith("}"):
            return found.get(workflow[1:-1], workflow)
        case _:
            return workflow


async def follow(job: EngineJob, socket: aiohttp.ClientWebSocketResponse, queued: str) -> None:
    """Pass progress and previews on until the workflow has ended.

    Raises:
        EngineError: the workflow failed, or the server has gone.
    """
    step, total = 0, 1
    async for message in socket:
        if isinstance(message.data, bytes):
            job.progress(step, total, preview=message.data[PREVIEW_HEAD:])
            continue
        if not isinstance(message.data, str):
            break
        event = json.loads(message.data)
        about = event.get("data") or {}
        if about.get("prompt_id", queued) != queued:
            continue
        match event.get("type"):
            case "progress":
                step, total = int(about["value"]), int(about["max"])
                job.progress(step, total)
            case "execution_error":
                where, why = about.get("node_type"), about.get("exception_message")
                raise EngineError(f"ComfyUI's node {where} failed: {why}")
            case "execution_success":
                return
    raise EngineError("ComfyUI closed the connection before the picture was there")


def converted(data: bytes, ext: str) -> ImageResult:
    """The picture in the format that the task asks for.

    Raises:
        EngineError: it is no picture.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as picture:
            if picture.format == {"jpg": "JPEG"}.get(ext, ext.upper()):
                return ImageResult(data, ext)
            out = io.BytesIO()
            picture.convert("RGB").save(out, "JPEG" if ext in ("jpg", "jpeg") else ext)
    except (OSError, ValueError) as error:
        raise EngineError(f"ComfyUI's file is no picture: {error}") from error
    return ImageResult(out.getvalue(), ext)
