"""Plans: a claim, understood."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio_worker.engines.description import EngineDescription
from studio_worker.engines.router import Routes
from studio_worker.errors import BadClaim, NoEngine
from studio_worker.jobs.plan import (
    MAX_AUDIO_BYTES,
    MAX_PICTURE_BYTES,
    RANDOM_SEED_BITS,
    LocalOrder,
    draw,
    load_options,
    wanted_inputs,
)
from studio_worker.testing.claims import image_claim, llm_claim, stt_claim, tts_claim, video_claim
from studio_worker.wire.kinds import TaskKind
from studio_worker.wire.model_source import parse_model_source
from studio_worker.wire.tasks import parse_task

ROUTES = Routes.build(
    [
        EngineDescription(
            name="synthetic",
            distribution="studio-worker",
            sources=("synthetic",),
            isolation="loop",
            models={kind: (f"synthetic-{kind.value.removeprefix('audio_')}",) for kind in TaskKind},
        )
    ]
)


def drawn(asked, *, device=None, seed=1):
    return draw(asked, ROUTES, device=lambda plugin: device, rng=random.Random(seed))


def source(**defaults):
    return parse_model_source({"engine": "synthetic", "files": [], "cliDefaults": defaults})


def test_a_plan_names_job_model_kind_and_engine():
    plan = drawn(image_claim("j-1", claim_fields={"attempt": 2}))
    assert (plan.job_id, plan.model, plan.kind, plan.route.engine.name, plan.attempt, plan.origin) == (
        "j-1",
        "synthetic-image",
        TaskKind.IMAGE,
        "synthetic",
        2,
        "studio",
    )


def test_a_plan_has_its_defaults_resolved():
    plan = drawn(image_claim(claim_fields={"defaults": {"steps": 4, "cfgScale": 1.5}}, steps=20))
    assert (plan.task.steps, plan.task.cfg_scale) == (4, 1.5)


@pytest.mark.parametrize("seed", [0, 7, 2**64 - 1])
def test_a_seed_of_the_task_stands(seed):
    assert drawn(image_claim(seed=seed)).seed == seed


def test_a_task_without_a_seed_gets_a_random_one():
    assert drawn(image_claim(), seed=1).seed != drawn(image_claim(), seed=2).seed
    assert drawn(image_claim(), seed=1).seed == drawn(image_claim(), seed=1).seed


@given(st.integers())
def test_a_random_seed_fits_into_a_signed_integer(seed):
    assert 0 <= drawn(llm_claim(), seed=seed).seed < 2**RANDOM_SEED_BITS


@pytest.mark.parametrize(
    ("claim", "prompt"),
    [
        (image_claim(prompt="a cup " * 100), "a cup " * 100),
        (llm_claim(messages=[{"role": "user", "content": "x"}, {"role": "user", "content": "last"}]), "last"),
        (tts_claim(text="say it"), "say it"),
        (video_claim(prompt="a film"), "a film"),
        (stt_claim(inputUrl="https://x.example/a.wav"), "https://x.example/a.wav"),
    ],
)
def test_the_prompt_is_the_whole_prompt(claim, prompt):
    assert drawn(claim).prompt == prompt


def test_what_a_hook_sees_holds_no_prompt():
    info = drawn(image_claim(prompt="a secret")).info
    assert (info.kind, info.engine, info.source, info.origin) == (TaskKind.IMAGE, "synthetic", "synthetic", "studio")
    assert "secret" not in repr(info)


def test_a_bad_claim_is_refused_by_its_field():
    with pytest.raises(BadClaim, match=r"task\.width"):
        drawn(image_claim(width=0))


def test_an_engine_that_is_not_here_is_refused_by_name():
    with pytest.raises(NoEngine, match="onnx"):
        drawn(image_claim(claim_fields={"engine": "onnx"}))


class TestALocalOrder:
    def test_without_a_source_is_routed_by_kind_and_model(self):
        task = parse_task({"kind": "image", "prompt": "a cup"})
        plan = drawn(LocalOrder(job_id="l", model="synthetic-image", task=task), device="cpu")
        assert (plan.route.match, plan.source, plan.origin, plan.options.device) == ("model", None, "local", "cpu")

    def test_with_a_source_is_routed_by_it(self):
        task = parse_task({"kind": "image", "prompt": "a cup"})
        plan = drawn(LocalOrder(job_id="l", model="anything", task=task, source=source(width=128)))
        assert (plan.route.match, plan.task.width) == ("source", 128)

    def test_for_an_unknown_model_is_refused(self):
        with pytest.raises(NoEngine):
            drawn(LocalOrder(job_id="l", model="other", task=parse_task({"kind": "image", "prompt": "a cup"})))


class TestLoadOptions:
    def test_come_from_the_sources_defaults(self):
        defaults = {"contextSize": 4096, "flowShift": 3.0, "zeroCondT": True, "offloadToCpu": False}
        options = load_options(parse_task(image_claim()["task"]), source(**defaults), "cuda:0")
        assert (options.context_size, options.flow_shift, options.zero_cond_t, options.offload_to_cpu) == (
            4096,
            3.0,
            True,
            False,
        )
        assert options.device == "cuda:0"

    def test_of_zero_mean_none(self):
        options = load_options(parse_task(image_claim()["task"]), source(contextSize=0, flowShift=0.0), None)
        assert options.context_size is None
        assert options.flow_shift is None

    def test_take_a_tasks_template_values_over_the_sources(self):
        raw = llm_claim(
            chatTemplateKwargs={"thinking": True}, claim_fields={"defaults": {"chatTemplateKwargs": {"a": 1}}}
        )
        assert drawn(raw).options.chat_template_kwargs == {"thinking": True}

    def test_take_the_sources_template_values_where_the_task_has_none(self):
        raw = llm_claim(claim_fields={"defaults": {"chatTemplateKwargs": {"a": 1}}})
        assert drawn(raw).options.chat_template_kwargs == {"a": 1}

    def test_without_a_source_hold_the_tasks_own(self):
        task = parse_task(llm_claim(chatTemplateKwargs={"b": 2})["task"])
        assert load_options(task, None, None).chat_template_kwargs == {"b": 2}


class TestInputs:
    def test_of_a_picture_are_image_mask_and_reference(self):
        task = parse_task(
            image_claim(initImageUrl="https://x/i", maskUrl="https://x/m", refImageUrl="https://x/r")["task"]
        )
        assert [(item.role, item.field, item.url) for item in wanted_inputs(task)] == [
            ("image", "task.initImageUrl", "https://x/i"),
            ("mask", "task.maskUrl", "https://x/m"),
            ("ref_image", "task.refImageUrl", "https://x/r"),
        ]
        assert {item.limit_bytes for item in wanted_inputs(task)} == {MAX_PICTURE_BYTES}

    def test_of_a_video_are_its_first_picture(self):
        (item,) = wanted_inputs(parse_task(video_claim(initImageUrl="https://x/i")["task"]))
        assert (item.role, item.limit_bytes) == ("image", MAX_PICTURE_BYTES)

    def test_of_a_transcript_are_its_audio(self):
        (item,) = wanted_inputs(parse_task(stt_claim()["task"]))
        assert (item.role, item.field, item.limit_bytes) == ("audio", "task.inputUrl", MAX_AUDIO_BYTES)

    @pytest.mark.parametrize("raw", [llm_claim(), tts_claim(), image_claim(), video_claim()])
    def test_of_the_others_are_none(self, raw):
        assert wanted_inputs(parse_task(raw["task"])) == ()


def test_a_job_is_light_where_it_runs_on_the_loop_without_inputs():
    assert drawn(llm_claim()).is_light
    assert drawn(tts_claim()).is_light
    assert not drawn(stt_claim()).is_light
