from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio_worker.errors import BadClaim
from studio_worker.wire import tasks
from studio_worker.wire.defaults import resolve_defaults
from studio_worker.wire.model_source import CliDefaults, ModelSource
from studio_worker.wire.tasks import ImageTask, LlmTask, SttTask, Task, TtsTask, VideoTask, parse_task, task_to_wire

TASKS = st.one_of(*(st.from_type(model) for model in (ImageTask, LlmTask, SttTask, TtsTask, VideoTask)))
SOURCES = st.none() | st.from_type(ModelSource)


def resolved(task: dict[str, object], **defaults: object) -> Task:
    source = ModelSource(engine="x", cli_defaults=CliDefaults.from_wire(defaults))
    return resolve_defaults(parse_task({"kind": "image", "prompt": "p", **task}), source)


@pytest.mark.parametrize(
    ("field", "carried", "source", "table"),
    [
        ("width", 640, 1_024, 512),
        ("height", 640, 1_024, 512),
        ("steps", 30, 8, 20),
        ("cfgScale", 7.5, 1.0, None),
        ("samplingMethod", "lcm", "euler", None),
    ],
)
def test_the_task_wins_over_the_source_and_the_source_over_the_table(field, carried, source, table):
    name = {"cfgScale": "cfg_scale", "samplingMethod": "sampling_method"}.get(field, field)
    assert getattr(resolved({field: carried}, **{field: source}), name) == carried
    assert getattr(resolved({}, **{field: source}), name) == source
    assert getattr(resolved({}), name) == table


@pytest.mark.parametrize("field", ["width", "height", "steps", "cfgScale"])
def test_zero_means_that_the_source_has_no_default(field):
    assert resolved({}, **{field: 0}) == resolved({})


def test_twenty_steps_count_as_not_carried():
    assert resolved({"steps": 20}, steps=8).steps == 8
    assert resolved({"steps": 20}).steps == 20
    assert resolved({"steps": 20}, steps=0).steps == 20
    assert resolved({"steps": 21}, steps=8).steps == 21


def test_a_size_that_the_task_carries_wins_even_where_it_equals_the_table():
    assert resolved({"width": 512}, width=1_024).width == 512


def test_without_a_source_the_table_holds():
    assert resolve_defaults(ImageTask(prompt="p"), None) == ImageTask(prompt="p")


def test_a_video_takes_its_size_from_the_source():
    video = resolved({"kind": "video"}, width=640, height=360, steps=8, cfgScale=2)
    assert (video.width, video.height, video.seconds) == (640, 360, 2.0)


def test_a_conversation_takes_its_template_values_from_the_source_as_a_whole():
    turns = {"kind": "llm", "messages": [{"role": "user", "content": "x"}]}
    assert resolved(turns, chatTemplateKwargs={"thinking": False}).chat_template_kwargs == {"thinking": False}
    own = resolved({**turns, "chatTemplateKwargs": {"a": None}}, chatTemplateKwargs={"thinking": False})
    assert own.chat_template_kwargs == {"a": None}


def test_a_conversation_is_judged_once(monkeypatch):
    judged = []
    monkeypatch.setattr(tasks, "check_schema", judged.append)
    turns = {"kind": "llm", "messages": [{"role": "user", "content": "x"}], "jsonSchema": {"type": "object"}}
    found = resolved(turns, chatTemplateKwargs={"thinking": False})
    assert (found.chat_template_kwargs, len(judged)) == ({"thinking": False}, 1)
    assert "chat_template_kwargs" in found.model_fields_set


def test_a_default_that_breaks_the_pixel_budget_is_the_sources_fault():
    with pytest.raises(BadClaim, match="pixel budget") as caught:
        resolved({}, width=16_384, height=16_384)
    assert caught.value.field == "modelSource.cliDefaults.width"


@given(TASKS, SOURCES)
def test_the_same_input_brings_the_same_task_and_nothing_is_changed(task, source):
    before = (task_to_wire(task), frozenset(task.model_fields_set), source and source.to_wire())
    first, second = resolve_defaults(task, source), resolve_defaults(task, source)
    assert first == second
    assert (task_to_wire(task), frozenset(task.model_fields_set), source and source.to_wire()) == before


@given(TASKS, SOURCES)
def test_resolving_twice_changes_nothing_more(task, source):
    once = resolve_defaults(task, source)
    assert type(once) is type(task)
    if getattr(once, "steps", None) != 20:
        assert resolve_defaults(once, source) == once


@given(TASKS, SOURCES)
def test_what_the_task_carried_is_kept(task, source):
    done = resolve_defaults(task, source)
    for name in task.model_fields_set - {"steps"}:
        assert getattr(done, name) == getattr(task, name)
