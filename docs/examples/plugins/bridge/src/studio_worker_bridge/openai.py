"""Language models behind an OpenAI-compatible server: llama-server, vLLM, LM Studio and others."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any

from studio_worker import (
    Available,
    Engine,
    EngineCapabilities,
    EngineError,
    EngineJob,
    LlmResult,
    LlmTask,
    TaskKind,
    TextDelta,
    Unavailable,
    UnsupportedTask,
)
from studio_worker_bridge import server

if TYPE_CHECKING:
    import aiohttp

URL = "openai_url"


class OpenAiEngine(Engine):
    """Passes conversations on to ``<openai_url>/chat/completions``.

    Args:
        settings: `openai_url`; `openai_models`, the ids to advertise; `openai_schema`, how the server takes a
            schema (``json_schema`` or ``json_object``); `openai_key_variable`, the variable that holds its key.
    """

    name = "openai"
    isolation = "loop"
    concurrency = 4

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._url = server.address(settings, URL)
        self._models = server.names(settings, "openai_models", "openai:*")
        self._dialect = settings.get("openai_schema", "json_schema")
        self._key = os.environ.get(settings.get("openai_key_variable", ""), "")

    def capabilities(self) -> EngineCapabilities:
        """The models that the settings name; a claim may name others, which the server knows or refuses."""
        return EngineCapabilities({TaskKind.LLM: self._models})

    def availability(self) -> Available | Unavailable:
        """Whether a server is named."""
        return server.named(self._url, URL, "http://127.0.0.1:8080/v1")

    async def run(self, job: EngineJob) -> LlmResult:
        """The server's answer as it is."""
        async with (
            server.client(self._url, self._key) as http,
            http.post(self._route, json=_body(job, self._dialect)) as response,
        ):
            return LlmResult(server.read_json(await server.answer(response)))

    async def stream(self, job: EngineJob) -> AsyncIterator[TextDelta | LlmResult]:
        """The answer piece by piece, the whole of it last."""
        body = _body(job, self._dialect) | {"stream": True, "stream_options": {"include_usage": True}}
        whole = _Whole()
        async with server.client(self._url, self._key) as http, http.post(self._route, json=body) as response:
            if response.status != 200:
                await server.answer(response)
                raise EngineError(f"the server answers a stream with {response.status}")
            async for event in _events(response):
                piece = whole.add(event)
                if piece.text or piece.reasoning:
                    yield piece
        yield whole.result(job.model)

    @property
    def _route(self) -> str:
        return f"{self._url}/chat/completions"


def _body(job: EngineJob, dialect: str) -> dict[str, Any]:
    """The task in OpenAI's words; what it leaves open is left to the server."""
    task = job.task
    if not isinstance(task, LlmTask):
        raise UnsupportedTask("a server of language models takes llm tasks alone")
    said = [{"role": "system", "content": task.system}] if task.system else []
    body: dict[str, Any] = {
        "model": job.model,
        "messages": said + [{"role": message.role, "content": message.content} for message in task.messages],
        "max_tokens": task.max_tokens,
        "temperature": task.temperature,
        "seed": job.seed % 2**31,
    }
    if task.top_p is not None:
        body["top_p"] = task.top_p
    if task.stop:
        body["stop"] = list(task.stop)
    if task.json_schema is not None:
        body["response_format"] = _format(task.json_schema, dialect)
    if task.chat_template_kwargs:
        body["chat_template_kwargs"] = task.chat_template_kwargs
    return body


def _format(schema: Any, dialect: str) -> dict[str, Any]:
    if dialect == "json_object":
        return {"type": "json_object", "schema": schema}
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}


async def _events(response: aiohttp.ClientResponse) -> AsyncIterator[dict[str, Any]]:
    """The JSON of each server-sent event, up to ``[DONE]``."""
    async for line in response.content:
        data = line.strip().removeprefix(b"data:").strip()
        if line.startswith(b"data:") and data != b"[DONE]":
            event = server.read_json(data)
            if "error" in event:
                raise EngineError(f"the server broke off: {json.dumps(event['error'])[:300]}")
            yield event


class _Whole:
    """A completion put together from its pieces."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._reason = ""
        self._usage: dict[str, Any] = {}

    def add(self, event: dict[str, Any]) -> TextDelta:
        """What is new in it."""
        self._usage = event.get("usage") or self._usage
        for choice in event.get("choices") or []:
            self._reason = choice.get("finish_reason") or self._reason
            delta = choice.get("delta") or {}
            piece = TextDelta(text=delta.get("content") or "", reasoning=delta.get("reasoning_content") or "")
            self._text.append(piece.text)
            self._reasoning.append(piece.reasoning)
            return piece
        return TextDelta()

    def result(self, model: str) -> LlmResult:
        """As ``chat/completions`` answers without streaming.

        Raises:
            EngineError: the stream ended before the answer did, or counts no tokens.
        """
        if not self._reason:
            raise EngineError("the server's stream ended in the middle of the answer")
        if not self._usage:
            raise EngineError("the server counts no tokens in a stream (include_usage)", retryable=False)
        return LlmResult.of(
            "".join(self._text),
            model=model,
            prompt_tokens=self._usage.get("prompt_tokens", 0),
            completion_tokens=self._usage.get("completion_tokens", 0),
            finish_reason="length" if self._reason == "length" else "stop",
            reasoning="".join(self._reasoning),
        )
