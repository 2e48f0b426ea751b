"""The fields of a task as people give them: everyday options, `NAME=VALUE` pairs, names that are nearly right."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, get_args

import click

from studio_worker.text import escape
from studio_worker.wire.kinds import TaskKind
from studio_worker.wire.strict_json import NotJson, loads

if TYPE_CHECKING:
    from studio_worker.wire.base import WireModel

KINDS: Mapping[str, TaskKind] = {
    "image": TaskKind.IMAGE,
    "llm": TaskKind.LLM,
    "stt": TaskKind.AUDIO_STT,
    "tts": TaskKind.AUDIO_TTS,
    "video": TaskKind.VIDEO,
    "audio_stt": TaskKind.AUDIO_STT,
    "audio_tts": TaskKind.AUDIO_TTS,
}
"""Everyday and wire names of the kinds."""

EVERYDAY: Mapping[str, Mapping[TaskKind, str]] = {
    "prompt": {
        TaskKind.IMAGE: "prompt",
        TaskKind.VIDEO: "prompt",
        TaskKind.LLM: "messages",
        TaskKind.AUDIO_STT: "prompt",
        TaskKind.AUDIO_TTS: "text",
    },
    "negative_prompt": {TaskKind.IMAGE: "negativePrompt", TaskKind.VIDEO: "negativePrompt"},
    "system": {TaskKind.LLM: "system"},
    "seed": {TaskKind.IMAGE: "seed"},
    "steps": {TaskKind.IMAGE: "steps"},
    "width": {TaskKind.IMAGE: "width", TaskKind.VIDEO: "width"},
    "height": {TaskKind.IMAGE: "height", TaskKind.VIDEO: "height"},
    "max_tokens": {TaskKind.LLM: "maxTokens"},
    "schema": {TaskKind.LLM: "jsonSchema"},
    "voice": {TaskKind.AUDIO_TTS: "voice"},
    "language": {TaskKind.AUDIO_STT: "language", TaskKind.AUDIO_TTS: "language"},
}
"""Everyday option to the field that it sets, for each kind that has such a field."""

REMEDIES: Mapping[str, str] = {
    "task.prompt": "--prompt TEXT",
    "task.text": "--text TEXT",
    "task.messages": "--prompt TEXT",
    "task.inputUrl": "--audio PATH",
}
"""What to give where a task lacks a field."""


def everyday_fields(kind: TaskKind, given: Mapping[str, Any]) -> dict[str, Any]:
    """The task's fields that everyday options set; those that were not given are None.

    Raises:
        click.UsageError: the kind has no such field.
    """
    fields: dict[str, Any] = {}
    for option, value in given.items():
        if value is None:
            continue
        name = EVERYDAY[option].get(kind)
        if name is None:
            known = ", ".join(_dashed(each) for each, kinds in EVERYDAY.items() if kind in kinds)
            raise click.UsageError(f"{_dashed(option)} means nothing for {kind.value}, which takes {known}")
        fields[name] = [{"role": "user", "content": value}] if name == "messages" else value
    return fields


def typed_fields(option: str, pairs: Iterable[str], model: type[WireModel], what: str) -> dict[str, Any]:
    """`NAME=VALUE` pairs as fields by their wire names: JSON where the value is some, else text; null takes one away.

    Args:
        option: how the pairs are given, for sentences.
        pairs: the pairs.
        model: whose fields they are.
        what: what has these fields, for sentences.

    Raises:
        click.UsageError: no pair, or a name that is no field, with the nearest ones.
    """
    known = field_names(model)
    fields: dict[str, Any] = {}
    for pair in pairs:
        name, text = split_pair(option, pair)
        if name not in known:
            raise click.UsageError(f"{option}: {what} has no field {escape(name, limit=60)!r}{nearest(name, known)}")
        fields[name] = json_or_text(text)
    return fields


def field_names(model: type[WireModel]) -> list[str]:
    """The wire names of a model's fields, in order."""
    return [field.alias or name for name, field in model.model_fields.items()]


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about a name that is not known: the nearest ones, else all."""
    folded = {each.lower(): each for each in known}
    near = difflib.get_close_matches(name[:100].replace("_", "").replace("-", "").lower(), folded, n=3)
    if near:
        return f"; did you mean {' or '.join(folded[each] for each in near)}?"
    return f"; there are {', '.join(folded.values())}"


def split_pair(option: str, pair: str) -> tuple[str, str]:
    """Name and value of ``NAME=VALUE``. Raises click.UsageError where it is none."""
    name, sign, value = pair.partition("=")
    if not sign or not name:
        raise click.UsageError(f"{option} takes NAME=VALUE, not {escape(pair, limit=60)!r}")
    return name, value


def json_or_text(text: str) -> Any:
    """The JSON value that `text` is, else the text."""
    try:
        return loads(text.encode())
    except (NotJson, UnicodeEncodeError):
        return text


def number_range(option: str) -> tuple[int, int]:
    """The least and the largest whole number that an everyday option may be: those of its field on the wire."""
    from studio_worker.wire import tasks

    ranges = {
        "seed": (0, tasks.MAX_SEED),
        "steps": (1, tasks.MAX_STEPS),
        "width": (1, tasks.MAX_SIDE),
        "height": (1, tasks.MAX_SIDE),
        "max_tokens": (1, tasks.MAX_TOKENS),
    }
    return ranges[option]


def known_exts(kind: TaskKind) -> tuple[str, ...]:
    """The formats that a task of this kind may ask for; none where the result is JSON."""
    from studio_worker.wire.tasks import TASK_TYPES

    field = TASK_TYPES[kind].model_fields.get("ext")
    return get_args(field.annotation) if field is not None else ()


def _dashed(option: str) -> str:
    return "--" + option.replace("_", "-")
