"""From a prompt to an answer, token by token."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Literal

from studio_worker import BadInput, EngineError, EngineJob, LlmTask, TextDelta
from studio_worker_llama.answer import Answer
from studio_worker_llama.chat import ChatTemplate
from studio_worker_llama.json_grammar import Grammar, json_grammar
from studio_worker_llama.native import NativeModel
from studio_worker_llama.sampling import MAX_CLOSING, JsonGuide, Sampler
from studio_worker_llama.settings import Settings

REPORT_TOKENS = 8
"""Progress is told after so many tokens."""


@dataclass(frozen=True, slots=True)
class Model:
    """What `load` makes and jobs are answered with."""

    native: NativeModel
    template: ChatTemplate
    settings: Settings

    def close(self) -> None:
        """Give everything back."""
        self.native.close()


@dataclass(slots=True)
class Completion:
    """An answer as it grows.

    Attributes:
        answer: its text.
        prompt_tokens: tokens of the prompt, the one that begins it included.
        completion_tokens: tokens made; the one that ends an answer counts, as it was made too.
        finish_reason: ``stop``: the model or a stop text ended it; ``length``: it was cut.
    """

    answer: Answer
    prompt_tokens: int
    completion_tokens: int = 0
    finish_reason: Literal["stop", "length"] = "length"

    def to_json(self, model_id: str) -> dict[str, Any]:
        """The result in OpenAI's ``chat.completion`` shape."""
        message: dict[str, Any] = {"role": "assistant", "content": self.answer.content}
        if self.answer.reasoning:
            message["reasoning_content"] = self.answer.reasoning
        return {
            "object": "chat.completion",
            "model": model_id,
            "choices": [{"index": 0, "message": message, "finish_reason": self.finish_reason}],
            "usage": {
                "prompt_tokens": self.prompt_tokens,
                "completion_tokens": self.completion_tokens,
                "total_tokens": self.prompt_tokens + self.completion_tokens,
            },
        }


class Generation:
    """One job's answer.

    Args:
        model: the loaded model; one job at a time.
        job: the job; asked between tokens whether it goes on.
        task: its task.

    Raises:
        BadInput: the prompt doesn't fit into the context, or the schema cannot be kept.
    """

    def __init__(self, model: Model, job: EngineJob, task: LlmTask) -> None:
        self._model, self._job, self._task = model, job, task
        self._is_json = task.json_schema is not None
        self._grammar = json_grammar(task.json_schema) if self._is_json else None
        prompt = model.template.prompt(task)
        text, is_thinking = prompt.text, prompt.is_thinking
        if self._is_json and is_thinking:
            # Nothing but JSON may come now, so the thinking that the template has opened ends here.
            text, is_thinking = text + "\n</think>\n\n", False
        self._tokens = model.native.tokens(text)
        context = model.native.context
        if not self._tokens:
            raise BadInput("task.messages: the prompt is empty")
        if len(self._tokens) + 1 > context:
            raise BadInput(
                f"task.messages: the prompt is {len(self._tokens):,} tokens but the context holds {context:,}; "
                "raise contextSize or shorten the prompt"
            )
        self._budget = min(task.max_tokens, context - len(self._tokens))
        self._stops = tuple(task.stop or ())
        # Within a grammar a stop text never comes up, so nothing is cut.
        stops = () if self._is_json else (*self._stops, *prompt.stops)
        self.completion = Completion(
            Answer(stops, is_thinking=is_thinking, is_json=self._is_json), prompt_tokens=len(self._tokens)
        )

    def deltas(self) -> Iterator[TextDelta]:
        """The answer's pieces as they come; `completion` is whole once they end.

        Raises:
            Cancelled: the job is to end.
            EngineError: llama.cpp failed.
        """
        native, answer = self._model.native, self.completion.answer
        task = self._task
        with closing(
            Sampler(
                native,
                temperature=task.temperature,
                top_p=task.top_p,
                seed=self._job.seed,
                settings=self._model.settings,
            )
        ) as sampler:
            pieces = self._free(sampler) if self._grammar is None else self._guided(sampler, self._grammar)
            for piece in pieces:
                delta = answer.feed(piece)
                if delta.text or delta.reasoning:
                    yield delta
                if answer.is_stopped:
                    self.completion.finish_reason = "stop"
                    break
        last = answer.finish()
        if last.text or last.reasoning:
            yield last
        self._job.progress(self.completion.completion_tokens, self._budget, stage="generate")
        if self._is_json:
            _check_json(answer.content)

    def _free(self, sampler: Sampler) -> Iterator[bytes]:
        """The bytes of one token after another."""
        native = self._model.native
        token = sampler.sample_from(self._first_logits())
        while True:
            self._count()
            if native.is_end(token):
                self.completion.finish_reason = "stop"
                return
            yield native.piece(token)
            if self.completion.completion_tokens >= self._budget:
                return
            native.go_on(token)
            token = sampler.sample()

    def _guided(self, sampler: Sampler, grammar: Grammar) -> Iterator[bytes]:
        """The same within the schema's grammar; as the budget ends, the answer is brought to a short end."""
        native = self._model.native
        with closing(JsonGuide(native, grammar, self._stops)) as guide:
            self._check_budget(guide.closing())
            logits = self._first_logits()
            token: int | None = sampler.sample_from(logits)
            while True:
                if token is None or not guide.allows(token):
                    token = guide.choose(sampler, logits if logits is not None else native.logits())
                logits = None
                left = self._budget - self.completion.completion_tokens
                if token is not None and native.is_end(token):
                    self._count()
                    self.completion.finish_reason = "stop"
                    return
                if token is not None and guide.must_watch(left):
                    after = guide.closing(token)
                    # What the next steps need must still fit once this token is taken.
                    token = token if after is not None and len(after) < left else None
                if token is None:
                    for closer in guide.closing() or []:
                        self._count()
                        yield native.piece(closer)
                    return
                self._count()
                yield native.piece(token)
                guide.accept(token)
                if self.completion.completion_tokens >= self._budget:
                    return
                native.go_on(token)
                token = sampler.sample()

    def _check_budget(self, ending: list[int] | None) -> None:
        if ending is None and self._stops:
            raise BadInput("task.stop: no answer that keeps to jsonSchema is free of these texts")
        if ending is None:
            raise BadInput(f"task.jsonSchema: its shortest answer takes more than {MAX_CLOSING:,} tokens")
        if len(ending) > self._budget:
            raise BadInput(
                f"task.maxTokens: {self._budget} tokens are too few for jsonSchema, whose shortest answer "
                f"takes up to {len(ending)}"
            )

    def _first_logits(self) -> Any:
        job, total = self._job, len(self._tokens)
        job.check_cancelled()
        return self._model.native.read_prompt(
            self._tokens,
            is_cancelled=lambda: job.cancelled,
            on_read=lambda done: job.progress(done, total, stage="prompt"),
        )

    def _count(self) -> None:
        self._job.check_cancelled()
        if self.completion.completion_tokens % REPORT_TOKENS == 0:
            self._job.progress(self.completion.completion_tokens, self._budget, stage="generate")
        self.completion.completion_tokens += 1


def _check_json(content: str) -> None:
    try:
        json.loads(content)
    except ValueError as error:
        raise EngineError(f"the model's answer is no JSON in spite of its grammar: {error}", retryable=True) from None
