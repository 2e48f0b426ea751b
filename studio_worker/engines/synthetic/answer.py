"""Answers in OpenAI's shape, keyed by the conversation; a token is a word."""

from __future__ import annotations

import json
import re

from studio_worker.engines.base import EngineJob, LlmResult
from studio_worker.engines.synthetic.digest import Dice, hexdigest
from studio_worker.engines.synthetic.json_instance import instance
from studio_worker.errors import UnsupportedTask
from studio_worker.wire.tasks import LlmTask

MODEL = "synthetic-llm"

_OPENINGS = ("The light", "A quiet wind", "The old harbour", "Every wave", "The evening", "A distant bell")
_VERBS = ("follows", "answers", "carries", "remembers", "crosses", "gathers")
_ENDINGS = ("the open sea", "a longer story", "the last of the sun", "what was asked", "the narrow road", "the tide")
_STEPS = 8


def make_answer(job: EngineJob) -> LlmResult:
    """A chat completion; `maxTokens` and `stop` are honoured, `jsonSchema` gets a value that fits it.

    Raises:
        UnsupportedTask: a part of the JSON schema that this engine cannot fill; it is named.
    """
    task = job.task
    if not isinstance(task, LlmTask):
        raise UnsupportedTask("a synthetic answer needs an llm task")
    said = [part for message in task.messages for part in (message.role, message.content)]
    digest = hexdigest("answer", task.system or "", *said)
    schema = task.json_schema
    full = _prose(digest) if schema is None else json.dumps(instance(schema), ensure_ascii=False)
    content, reason = _cut(full, task)
    words = len(content.split())
    for step in range(1, _STEPS + 1):
        job.check_cancelled()
        job.progress(step, _STEPS, stage="answer")
    prompt_words = sum(len(message.content.split()) for message in task.messages) + len((task.system or "").split())
    return LlmResult(
        {
            "id": f"chatcmpl-{digest[:24]}",
            "object": "chat.completion",
            "created": 0,
            "model": MODEL,
            "choices": [{"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": reason}],
            "usage": {
                "prompt_tokens": prompt_words,
                "completion_tokens": words,
                "total_tokens": prompt_words + words,
            },
        }
    )


def _prose(digest: str) -> str:
    dice = Dice(digest)
    sentence = f"{dice.choice(_OPENINGS)} {dice.choice(_VERBS)} {dice.choice(_ENDINGS)}."
    return f"[synthetic] reply to prompt #{digest[:16]}: {sentence}"


def _cut(content: str, task: LlmTask) -> tuple[str, str]:
    """The content up to the first stop text and at most `max_tokens` words, with the reason for its end."""
    places = [place for text in task.stop or () if (place := content.find(text)) >= 0]
    if places:
        content = content[: min(places)]
    words = [match.span() for match in re.finditer(r"\S+", content)]
    if len(words) > task.max_tokens:
        return content[: words[task.max_tokens - 1][1]], "length"
    return content, "stop"
