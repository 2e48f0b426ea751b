from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio_worker.errors import BadClaim
from studio_worker.wire.kinds import TaskKind
from studio_worker.wire.strict_json import dumps, loads
from studio_worker.wire.tasks import (
    MAX_CONVERSATION,
    MAX_DATA_URL,
    MAX_PROMPT,
    MAX_URL,
    SAMPLING_METHODS,
    TASK_TYPES,
    ImageTask,
    LlmTask,
    SttTask,
    TtsTask,
    VideoTask,
    parse_task,
    task_to_wire,
    whole_prompt,
)

TASKS = st.one_of(*(st.from_type(model) for model in (ImageTask, LlmTask, SttTask, TtsTask, VideoTask)))
TURN = {"role": "user", "content": "x"}


@given(TASKS)
def test_a_task_survives_the_wire(task):
    assert parse_task(loads(dumps(task_to_wire(task)))) == task


@given(TASKS)
def test_a_task_goes_out_without_nulls_and_with_its_kind(task):
    wire = task_to_wire(task)
    assert wire["kind"] == task.kind
    assert all(value is not None for key, value in wire.items() if key != "reasoning")


@pytest.mark.parametrize("kind", TaskKind)
def test_every_kind_has_its_task(kind, sound_tasks):
    task = parse_task(sound_tasks[kind])
    assert type(task) is TASK_TYPES[kind]
    assert task.kind is kind


def test_the_defaults_are_those_of_the_contract(sound_tasks):
    assert task_to_wire(parse_task({"kind": "image", "prompt": "p"})) == {
        "kind": "image",
        "prompt": "p",
        "width": 512,
        "height": 512,
        "steps": 20,
        "ext": "webp",
    }
    assert task_to_wire(parse_task(sound_tasks["llm"])) == {
        "kind": "llm",
        "messages": [{"role": "user", "content": "hello"}],
        "maxTokens": 512,
        "temperature": 0.7,
    }
    assert task_to_wire(parse_task({"kind": "audio_stt", "inputUrl": "u"})) == {"kind": "audio_stt", "inputUrl": "u"}
    assert task_to_wire(parse_task({"kind": "audio_tts", "text": "t"})) == {
        "kind": "audio_tts",
        "text": "t",
        "voice": "default",
        "ext": "wav",
    }
    assert task_to_wire(parse_task({"kind": "video", "prompt": "p"})) == {
        "kind": "video",
        "prompt": "p",
        "seconds": 2.0,
        "width": 512,
        "height": 512,
        "ext": "mp4",
    }


def test_a_task_knows_which_fields_it_carried():
    assert parse_task({"kind": "image", "prompt": "p", "steps": 20, "seed": None}).model_fields_set == {
        "prompt",
        "steps",
    }


@pytest.mark.parametrize("value", ["IMAGE", "exec", None, 5, ["image"], {}, "", "image ", "\x1b[2J" * 30])
def test_an_unknown_kind_is_refused_by_name(value, refused):
    error = refused("task.kind", value)
    assert error.field == "task.kind"
    assert "image, llm, audio_stt, audio_tts, video" in error.problem
    assert "\x1b" not in error.problem


@pytest.mark.parametrize("value", ["image", 5, [], True])
def test_a_task_that_is_no_object_is_refused(value, refused):
    assert str(refused("task", value)) == "task: must be an object with a 'kind'"


@pytest.mark.parametrize(
    ("kind", "field", "value", "allowed"),
    [
        *(("image", "width", value, "from 1 to 16384") for value in (0, -1, 16_385, 1.5, "512", True)),
        *(("video", "height", value, "from 1 to 16384") for value in (0, -1, 16_385, 1.5, "512", True)),
        ("image", "steps", 1_001, "from 1 to 1000"),
        ("image", "steps", 0, "from 1 to 1000"),
        ("image", "seed", -1, "from 0 to 18446744073709551615"),
        ("image", "seed", 2**64, "from 0 to 18446744073709551615"),
        ("image", "seed", 1.0, "from 0 to 18446744073709551615"),
        ("image", "cfgScale", 1e308, "from 0 to 100"),
        ("image", "cfgScale", True, "from 0 to 100"),
        ("image", "denoise", 1.0001, "from 0 to 1"),
        ("image", "denoise", -0.1, "from 0 to 1"),
        ("video", "seconds", 1e9, "above 0 up to 600"),
        ("video", "seconds", 0, "above 0 up to 600"),
        ("video", "fps", 0, "from 1 to 240"),
        ("video", "fps", 100_000, "from 1 to 240"),
        ("llm", "maxTokens", 0, "from 1 to 1000000"),
        ("llm", "maxTokens", "512", "from 1 to 1000000"),
        ("llm", "temperature", -0.1, "from 0 to 10"),
        ("llm", "temperature", math.nan, "from 0 to 10"),
        ("llm", "topP", 1.1, "from 0 to 1"),
        ("audio_tts", "speed", 0, "from 0.1 to 10"),
        ("audio_tts", "speed", -1, "from 0.1 to 10"),
        ("audio_tts", "speed", 1e9, "from 0.1 to 10"),
    ],
)
def test_a_number_outside_its_range_is_refused_with_the_range(kind, field, value, allowed, refused):
    error = refused(f"task.{field}", value, kind=kind)
    assert error.field == f"task.{field}"
    assert allowed in error.problem


@pytest.mark.parametrize("seed", [0, 2**63 - 1, 2**63, 2**64 - 1])
def test_every_unsigned_seed_of_64_bits_is_taken(seed):
    assert parse_task({"kind": "image", "prompt": "p", "seed": seed}).seed == seed


@pytest.mark.parametrize("kind", ["image", "video"])
def test_a_picture_has_a_pixel_budget(kind, refused):
    error = refused("task", {"kind": kind, "prompt": "p", "width": 16_384, "height": 16_384})
    assert error.field == "task.width"
    assert "pixel budget" in error.problem


def test_a_long_thin_picture_within_the_budget_is_taken():
    assert parse_task({"kind": "image", "prompt": "p", "width": 16_384, "height": 4_096}).width == 16_384


@pytest.mark.parametrize(("kind", "field"), [("image", "prompt"), ("video", "prompt"), ("audio_tts", "text")])
@pytest.mark.parametrize(
    ("value", "problem"),
    [("x" * 10_000_000, "at most"), ("\0\0", "is empty"), ("", "is empty"), ("  \n", "is empty"), (5, "must be text")],
    ids=["10 MB", "NUL", "empty", "blank", "number"],
)
def test_a_prompt_that_is_huge_or_says_nothing_is_refused(kind, field, value, problem, refused):
    error = refused(f"task.{field}", value, kind=kind)
    assert error.field == f"task.{field}"
    assert problem in error.problem
    assert len(str(error)) < 200


@pytest.mark.parametrize(("kind", "field"), [("image", "prompt"), ("llm", "messages"), ("audio_stt", "inputUrl")])
def test_a_field_that_must_be_there_is_named(kind, field, refused):
    assert str(refused(f"task.{field}", kind=kind)) == f"task.{field}: is required"


def test_a_prompt_at_the_limit_is_taken():
    assert len(parse_task({"kind": "image", "prompt": "x" * MAX_PROMPT}).prompt) == MAX_PROMPT


@pytest.mark.parametrize(
    ("messages", "field"),
    [
        ([], "task.messages"),
        ({}, "task.messages"),
        ("hello", "task.messages"),
        ([5], "task.messages.0"),
        ([{"role": "root", "content": "x"}], "task.messages.0.role"),
        ([{"content": "x"}], "task.messages.0.role"),
        ([TURN, {"role": "user", "content": None}], "task.messages.1.content"),
        ([{"role": "user", "content": ["x"]}], "task.messages.0.content"),
        ([TURN] * 1_000_000, "task.messages"),
        ([{"role": "user", "content": "x" * 3_000_000}] * 2, "task.messages"),
        ([{"role": "user", "content": "x" * (MAX_CONVERSATION + 1)}], "task.messages.0.content"),
    ],
    ids=range(11),
)
def test_messages_that_are_no_conversation_are_refused(messages, field, refused):
    assert refused("task.messages", messages, kind="llm").field == field


@pytest.mark.parametrize("stop", [[""], ["a", ""], ["a"] * 10_000, "a", [5], ["x" * 1_001]], ids=range(6))
def test_stops_that_are_empty_or_too_many_are_refused(stop, refused):
    assert refused("task.stop", stop, kind="llm").field.startswith("task.stop")


@pytest.mark.parametrize("value", ["\n", " ", "###"])
def test_a_stop_may_be_white_space(value):
    assert parse_task({"kind": "llm", "messages": [TURN], "stop": [value]}).stop == (value,)


def test_a_schema_that_cannot_be_used_is_refused_by_name(refused):
    error = refused("task.jsonSchema", {"$ref": "https://evil.example/schema"}, kind="llm")
    assert error.field == "task.jsonSchema"
    assert "leaves the schema" in error.problem


@pytest.mark.parametrize("field", ["chatTemplateKwargs", "reasoning"])
def test_other_peoples_json_is_finite(field, refused):
    assert refused(f"task.{field}", {"a": [math.nan]}, kind="llm").field == f"task.{field}"


def test_nulls_in_other_peoples_json_are_kept():
    raw = {"kind": "llm", "messages": [TURN], "chatTemplateKwargs": {"thinking": None}, "jsonSchema": {"default": None}}
    wire = task_to_wire(parse_task(raw))
    assert wire["chatTemplateKwargs"] == {"thinking": None}
    assert wire["jsonSchema"] == {"default": None}


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        ("audio_tts", "voice", "../../x.onnx"),
        ("audio_tts", "voice", "a..b"),
        ("audio_tts", "voice", "a/b"),
        ("audio_tts", "voice", ""),
        ("audio_tts", "voice", "x" * 129),
        ("audio_tts", "language", "en;rm"),
        ("audio_stt", "language", "en;rm"),
        ("audio_stt", "language", "--help"),
        ("audio_stt", "language", "e"),
        ("audio_stt", "timestamps", "char"),
        ("audio_stt", "translate", 1),
        ("audio_stt", "vad", "yes"),
        ("audio_stt", "inputUrl", ""),
        ("audio_stt", "inputUrl", 5),
        ("image", "samplingMethod", "--help"),
        ("image", "samplingMethod", "EULER"),
        ("image", "initImageUrl", ""),
        *(
            (kind, "ext", ext)
            for kind in ("image", "audio_tts", "video")
            for ext in ("png\r\nX: y", "php", "../x", "", "PNG", "exe", 5)
        ),
        ("audio_tts", "ext", "png"),
        ("image", "ext", "wav"),
        ("video", "ext", "png"),
    ],
)
def test_a_value_outside_its_list_or_rule_is_refused_by_name(kind, field, value, refused):
    assert refused(f"task.{field}", value, kind=kind).field == f"task.{field}"


def test_a_refused_sampler_brings_the_list_of_samplers(refused):
    problem = refused("task.samplingMethod", "--help").problem
    assert all(name in problem for name in SAMPLING_METHODS)


@pytest.mark.parametrize("voice", ["default", "en_US-joe-medium", "af heart+am", "a.b", "7"])
def test_ordinary_voice_names_are_taken(voice):
    assert parse_task({"kind": "audio_tts", "text": "t", "voice": voice}).voice == voice


@pytest.mark.parametrize("ext", ["webp", "png", "jpg", "jpeg", "gif"])
def test_every_picture_format_of_the_contract_is_taken(ext):
    assert parse_task({"kind": "image", "prompt": "p", "ext": ext}).ext == ext


def test_a_mask_needs_its_picture(refused):
    assert refused("task.maskUrl", "https://studio.example/m.png").field == "task.maskUrl"


def test_a_link_is_short_and_inline_data_may_be_long():
    assert parse_task({"kind": "audio_stt", "inputUrl": "data:," + "a" * (MAX_DATA_URL - 6)})
    with pytest.raises(BadClaim, match=r"task\.inputUrl"):
        parse_task({"kind": "audio_stt", "inputUrl": "https://h/" + "a" * MAX_URL})
    with pytest.raises(BadClaim, match=r"task\.inputUrl"):
        parse_task({"kind": "audio_stt", "inputUrl": "DATA:," + "a" * MAX_DATA_URL})


def test_a_prompt_is_text_whatever_it_looks_like():
    assert parse_task({"kind": "image", "prompt": "<lora:../../etc/passwd:1>"}).prompt == "<lora:../../etc/passwd:1>"


def test_the_prompt_of_a_result_is_the_whole_of_what_was_asked():
    long = "x" * 5_000
    assert whole_prompt(ImageTask(prompt=long)) == long
    assert whole_prompt(VideoTask(prompt="v")) == "v"
    assert whole_prompt(TtsTask(text="t")) == "t"
    assert whole_prompt(SttTask(input_url="https://h/a.wav")) == "https://h/a.wav"
    turns = [{"role": "system", "content": "s"}, {"role": "user", "content": long}]
    assert whole_prompt(parse_task({"kind": "llm", "messages": turns})) == long


@pytest.mark.parametrize(("kind", "binary"), [("image", True), ("llm", False), ("audio_stt", False), ("video", True)])
def test_a_kind_knows_whether_its_result_is_bytes(kind, binary):
    assert TaskKind(kind).is_binary is binary
