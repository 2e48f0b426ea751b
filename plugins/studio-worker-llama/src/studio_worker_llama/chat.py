"""A conversation as the text that the model was trained on: by its own template, or plainly where it has none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError

from studio_worker import BadInput, EngineError, LlmTask
from studio_worker_llama.sandbox import MAX_CHARS, MAX_SECONDS, TemplateLimit, TemplateSandbox, time_limit

MAX_TEMPLATE = 256 * 1024
"""Characters of a template; the largest seen in the wild have 30,000."""

Render = Callable[[Mapping[str, Any]], str]


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the model is given.

    Attributes:
        text: the rendered conversation, up to where the answer begins.
        stops: texts at which the answer ends besides the task's own.
    """

    text: str
    stops: tuple[str, ...] = ()

    @property
    def is_thinking(self) -> bool:
        """Whether the template has opened the model's thinking, so that the answer begins inside it."""
        return self.text.rstrip().endswith("<think>")


class ChatTemplate:
    """A model's chat template, compiled once.

    Args:
        source: the template from the model's file; empty for a model without one.
        bos: the text of the token that begins a sequence.
        eos: the text of the token that ends one.
        max_seconds: the longest that rendering may take.

    Raises:
        EngineError: it is no template, or tries what a template may not.
    """

    def __init__(self, source: str, *, bos: str = "", eos: str = "", max_seconds: float = MAX_SECONDS) -> None:
        self._fixed = {"bos_token": bos, "eos_token": eos, "add_generation_prompt": True}
        self._max_seconds = max_seconds
        self._template = self._compiled(source) if source.strip() else None

    def prompt(self, task: LlmTask) -> Prompt:
        """The conversation of a task. A request's template values never replace the messages or the tokens.

        Raises:
            BadInput: the template refuses this conversation.
            EngineError: the template breaks a rule of the sandbox.
        """
        messages = [{"role": message.role, "content": message.content} for message in task.messages]
        if task.system:
            messages.insert(0, {"role": "system", "content": task.system})
        if self._template is None:
            return _plain(messages)
        values = {**(task.chat_template_kwargs or {}), **self._fixed, "messages": messages}
        try:
            with time_limit(self._max_seconds):
                text = self._template.render(values)
        except (TemplateLimit, RecursionError, MemoryError) as error:
            raise EngineError(_refusal(error), retryable=False) from None
        except TemplateError as error:
            raise BadInput(f"task.messages: the model's chat template refuses them: {error}") from None
        except Exception as error:  # noqa: BLE001 - a stranger's template may fail in any way
            raise BadInput(
                f"task.messages: the model's chat template cannot take them: {type(error).__name__}: {error}"
            ) from None
        if len(text) > MAX_CHARS:
            raise EngineError(_refusal(TemplateLimit("writes too long a prompt")), retryable=False)
        return Prompt(text)

    def _compiled(self, source: str) -> Any:
        if len(source) > MAX_TEMPLATE:
            raise EngineError(f"the model's chat template has {len(source):,} characters", retryable=False)
        try:
            with time_limit(self._max_seconds):
                return TemplateSandbox().from_string(source)
        except (TemplateError, RecursionError, MemoryError, SyntaxError, ValueError) as error:
            raise EngineError(_refusal(error), retryable=False) from None


def _refusal(error: BaseException) -> str:
    why = "is nested too deeply" if isinstance(error, RecursionError) else str(error) or type(error).__name__
    return (
        f"the model's chat template cannot be used: it {why}"
        if isinstance(error, TemplateLimit)
        else (f"the model's chat template cannot be used: {why}")
    )


def _plain(messages: list[dict[str, str]]) -> Prompt:
    """For a model that was never taught to chat: a lone message is continued, a conversation is written as a script."""
    if len(messages) == 1 and messages[0]["role"] == "user":
        return Prompt(messages[0]["content"])
    names = {"user": "User: ", "assistant": "Assistant: ", "tool": "Tool: ", "system": ""}
    lines = [names[message["role"]] + message["content"] for message in messages]
    return Prompt("\n\n".join([*lines, "Assistant:"]), stops=("\nUser:", "\nTool:"))
