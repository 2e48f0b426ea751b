"""Names and values of a task's fields as people write them."""

from __future__ import annotations

import click
import pytest

from studio_worker.cli.generate_fields import (
    EVERYDAY,
    KINDS,
    everyday_fields,
    field_names,
    json_or_text,
    known_exts,
    nearest,
    split_pair,
    typed_fields,
)
from studio_worker.wire.kinds import TaskKind
from studio_worker.wire.tasks import TASK_TYPES, ImageTask


def typed(*pairs: str) -> dict[str, object]:
    return typed_fields("--set", pairs, ImageTask, "kind image")


def test_every_kind_has_its_wire_name_and_an_everyday_one() -> None:
    assert set(KINDS.values()) == set(TaskKind)
    assert {kind.value for kind in TaskKind} <= set(KINDS)
    assert (KINDS["stt"], KINDS["tts"]) == (TaskKind.AUDIO_STT, TaskKind.AUDIO_TTS)


@pytest.mark.parametrize(
    ("option", "kind", "name"), [(o, k, n) for o, kinds in EVERYDAY.items() for k, n in kinds.items()]
)
def test_every_everyday_option_sets_a_field_that_its_kind_has(option: str, kind: TaskKind, name: str) -> None:
    assert name in field_names(TASK_TYPES[kind])


def test_a_prompt_is_what_each_kind_makes_something_of() -> None:
    assert everyday_fields(TaskKind.IMAGE, {"prompt": "a cup"}) == {"prompt": "a cup"}
    assert everyday_fields(TaskKind.AUDIO_TTS, {"prompt": "hello"}) == {"text": "hello"}
    assert everyday_fields(TaskKind.LLM, {"prompt": "hi", "system": "be kind"}) == {
        "messages": [{"role": "user", "content": "hi"}],
        "system": "be kind",
    }


def test_options_that_were_not_given_set_nothing_and_a_zero_is_given() -> None:
    assert everyday_fields(TaskKind.IMAGE, {"prompt": None, "steps": None, "seed": 0}) == {"seed": 0}


def test_an_option_that_a_kind_has_no_use_for_is_refused_with_those_that_it_has() -> None:
    with pytest.raises(click.UsageError, match="--max-tokens means nothing for image, which takes --prompt, "):
        everyday_fields(TaskKind.IMAGE, {"max_tokens": 5})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("4", 4),
        ("0.5", 0.5),
        ("true", True),
        ("null", None),
        ('"7"', "7"),
        ('{"a": [1]}', {"a": [1]}),
        ("euler", "euler"),
        ("a cup", "a cup"),
        ("", ""),
        ("NaN", "NaN"),
        ("{broken", "{broken"),
    ],
)
def test_a_value_is_json_where_it_is_some_and_text_otherwise(text: str, value: object) -> None:
    assert json_or_text(text) == value


def test_fields_go_by_their_wire_names_and_a_value_may_hold_signs() -> None:
    assert typed("cfgScale=7.5", "prompt=a=b", "steps=4") == {"cfgScale": 7.5, "prompt": "a=b", "steps": 4}


@pytest.mark.parametrize(
    ("name", "meant"),
    [("stpes", "steps"), ("negative_prompt", "negativePrompt"), ("cfg-scale", "cfgScale"), ("PROMPT", "prompt")],
)
def test_a_name_that_is_nearly_right_is_refused_with_the_right_one(name: str, meant: str) -> None:
    with pytest.raises(click.UsageError, match=rf"--set: kind image has no field '{name}'; did you mean .*{meant}"):
        typed(f"{name}=1")


def test_a_name_that_is_near_nothing_is_refused_with_all_names() -> None:
    with pytest.raises(click.UsageError, match=r"there are prompt, negativePrompt, .*ext"):
        typed("zzzzzzzz=1")
    assert nearest("x" * 10_000, ["image"]) == "; there are image"


@pytest.mark.parametrize("pair", ["steps", "=4", ""])
def test_what_is_no_pair_is_refused(pair: str) -> None:
    with pytest.raises(click.UsageError, match="--set takes NAME=VALUE"):
        split_pair("--set", pair)


def test_text_that_no_json_can_carry_stays_text() -> None:
    assert json_or_text("\udc80") == "\udc80"


def test_formats_are_those_of_the_task_and_texts_have_none() -> None:
    assert "png" in known_exts(TaskKind.IMAGE)
    assert known_exts(TaskKind.LLM) == ()
