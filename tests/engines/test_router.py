"""The router: strict by source and kind, exact by model, never synthetic for another, always one log line."""

import subprocess
import sys
from dataclasses import FrozenInstanceError
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import studio_worker
from studio_worker.engines.description import EngineDescription, disable
from studio_worker.engines.router import Routes
from studio_worker.errors import NoEngine, UnsupportedTask
from studio_worker.wire.kinds import TaskKind

IMAGE, LLM, STT, TTS, VIDEO = TaskKind


@pytest.fixture
def house(describe) -> list[EngineDescription]:
    """The engines that the installed base knows, by the source ids of its claims."""
    return [
        describe(
            "synthetic",
            distribution="studio-worker",
            models={kind: ("synthetic", f"synthetic-{kind.value}") for kind in TaskKind},
        ),
        describe("sdcpp", sources=("sd-cpp",), models={IMAGE: ("sd-cpp:*",), VIDEO: ("sd-cpp:*",)}),
        describe("llama", sources=("llama-cpp",), models={LLM: ("llama-cpp:*",)}),
        describe("lama", sources=("onnx",), models={IMAGE: ("onnx:*", "big-lama")}),
        describe("whisper", models={STT: ("whisper:*",)}),
    ]


def refused(routes: Routes, kind: TaskKind, model: str, source: str | None) -> str:
    with pytest.raises((NoEngine, UnsupportedTask)) as caught:
        routes.pick(kind, model, source)
    assert not caught.value.retryable
    return str(caught.value)


# by source


@pytest.mark.parametrize(
    ("source", "kind", "engine"),
    [
        ("sd-cpp", IMAGE, "sdcpp"),
        ("sd-cpp", VIDEO, "sdcpp"),
        ("llama-cpp", LLM, "llama"),
        ("onnx", IMAGE, "lama"),
        ("whisper", STT, "whisper"),
        *(("synthetic", kind, "synthetic") for kind in TaskKind),
    ],
)
def test_a_source_is_served_by_the_engine_that_claims_it(house, source, kind, engine):
    route = Routes.build(house).pick(kind, "whatever", source)
    assert (route.engine.name, route.match, route.source_id, route.model) == (engine, "source", source, "whatever")


def test_a_kind_without_models_is_served_and_advertised_by_the_source_alone(describe):
    routes = Routes.build([describe("fox", models={LLM: ()})])
    assert routes.pick(LLM, "fox-1", "fox").engine.name == "fox"
    assert (routes.task_kinds, routes.sources_per_kind, routes.models_per_kind) == ((LLM,), {LLM: ("fox",)}, {LLM: ()})
    assert "name a source (fox)" in refused(routes, LLM, "fox-1", None)


def test_the_model_of_a_claim_with_a_source_plays_no_part(house):
    assert Routes.build(house).pick(IMAGE, "synthetic", "onnx").engine.name == "lama"


@pytest.mark.parametrize("source", ["llama-cpp", "sd-cpp", "onnx", "whisper", "parakeet", "piper", "unheard-of"])
@pytest.mark.parametrize("kind", list(TaskKind))
def test_synthetic_alone_never_serves_another_source(house, source, kind):
    refused(Routes.build(house[:1]), kind, "synthetic", source)


@pytest.mark.parametrize(
    "source", ["synthetic ", " synthetic", "Synthetic", "sd-\u0441pp", "*", "../x", "", "sd-cpp\n"]
)
def test_a_source_id_is_compared_exactly(house, source):
    message = refused(Routes.build(house), IMAGE, "synthetic", source)
    assert message.isprintable()


def test_a_source_that_is_served_for_other_kinds_is_an_unsupported_task(house):
    with pytest.raises(UnsupportedTask) as caught:
        Routes.build(house).pick(LLM, "m", "sd-cpp")
    assert str(caught.value) == (
        "source 'sd-cpp' is served by 'sdcpp' (studio-worker-sdcpp 1.0) for image, video, "
        "not for this job (kind llm, model 'm')"
    )


# by model


@pytest.mark.parametrize(
    ("kind", "model", "engine"),
    [(IMAGE, "big-lama", "lama"), (LLM, "synthetic", "synthetic"), (IMAGE, "synthetic-image", "synthetic")],
)
def test_without_a_source_the_exact_pair_of_kind_and_model_decides(house, kind, model, engine):
    route = Routes.build(house).pick(kind, model, None)
    assert (route.engine.name, route.match, route.source_id) == (engine, "model", None)


@pytest.mark.parametrize("kind", list(TaskKind))
def test_an_unknown_model_is_refused_even_where_the_kind_is_served(house, kind):
    assert "model 'unheard-of'" in refused(Routes.build(house), kind, "unheard-of", None)


def test_a_known_model_of_another_kind_is_refused(house):
    refused(Routes.build(house), LLM, "big-lama", None)


@pytest.mark.parametrize("model", ["onnx:lama", "sd-cpp:flux", "whisper:", "onnx"])
def test_a_label_is_never_matched_as_a_pattern(house, model):
    for kind in TaskKind:
        refused(Routes.build(house), kind, model, None)


# who comes first


def test_real_comes_before_synthetic_where_both_claim_a_pair(describe):
    synthetic = describe("synthetic", models={IMAGE: ("shared",)})
    real = describe("zeta", models={IMAGE: ("shared",)})
    for order in ([synthetic, real], [real, synthetic]):
        assert Routes.build(order).pick(IMAGE, "shared", None).engine is real


def test_of_two_engines_of_one_source_the_first_by_name_serves_it(describe):
    one, two = describe("alpha", sources=("onnx",)), describe("beta", sources=("onnx",))
    for order in ([one, two], [two, one]):
        assert Routes.build(order).pick(IMAGE, "m", "onnx").engine is one


def test_the_preferred_engine_serves_the_source_that_it_is_preferred_for(describe):
    one = describe("alpha", sources=("onnx", "other"))
    two = describe("beta", sources=("onnx", "other"))
    routes = Routes.build([one, two], {"onnx": "beta"})
    assert routes.pick(IMAGE, "m", "onnx").engine is two
    assert routes.pick(IMAGE, "m", "other").engine is one


def test_the_preferred_engine_serves_the_models_that_both_advertise(describe):
    one = describe("alpha", sources=("onnx",), models={IMAGE: ("shared", "a")})
    two = describe("beta", sources=("onnx",), models={IMAGE: ("shared", "b")})
    routes = Routes.build([one, two], {"onnx": "beta"})
    assert routes.pick(IMAGE, "shared", None).engine is two
    assert routes.pick(IMAGE, "a", None).engine is one


def test_a_doubly_claimed_source_warns_and_names_both(describe, log_lines):
    Routes.build([describe("alpha", sources=("onnx",)), describe("beta", sources=("onnx",))])
    (line,) = [line for line in log_lines if line["level"] == "WARNING"]
    assert line["engine"] == "'alpha' (studio-worker-alpha 1.0)"
    assert line["also"] == "'beta' (studio-worker-beta 1.0)"
    assert line["key"] == "source onnx, kind image"


def test_two_engines_with_many_models_in_common_leave_one_warning(describe, log_lines):
    ids = tuple(f"m{number}" for number in range(100))
    Routes.build([describe("alpha", models={IMAGE: ids}), describe("beta", models={IMAGE: ids})])
    assert len([line for line in log_lines if line["level"] == "WARNING"]) == 1


def test_a_preference_settles_the_matter_without_a_warning(describe, log_lines):
    engines = [describe("alpha", sources=("onnx",)), describe("beta", sources=("onnx",))]
    Routes.build(engines, {"onnx": "beta"})
    Routes.build(engines, {"onnx": "alpha"})
    assert log_lines == []


def test_a_preference_for_an_engine_that_is_not_here_warns(describe, log_lines):
    Routes.build([describe("alpha", sources=("onnx",))], {"onnx": "gamma"})
    (line,) = log_lines
    assert (line["level"], line["source"], line["engine"]) == ("WARNING", "onnx", "gamma")


def test_no_preference_brings_synthetic_before_a_real_engine(describe):
    synthetic = describe("synthetic", models={IMAGE: ("shared",)})
    real = describe("zeta", models={IMAGE: ("shared",)})
    routes = Routes.build([synthetic, real], {"zeta": "synthetic", "synthetic": "synthetic"})
    assert routes.pick(IMAGE, "shared", None).engine is real


# refusals


@pytest.mark.parametrize(
    ("source", "command"),
    [
        ("llama-cpp", "pip install studio-worker-llama"),
        ("sd-cpp", "pip install studio-worker-sdcpp"),
        ("onnx", "pip install studio-worker-onnx"),
        ("piper", "pip install studio-worker-piper"),
        ("whisper", "pip install studio-worker-whisper"),
        ("parakeet", "pip install studio-worker-parakeet"),
    ],
)
def test_a_refusal_names_source_kind_model_and_the_install_command(source, command):
    assert refused(Routes.build([]), LLM, "qwen", source) == (
        f"no engine for source '{source}' on this worker (kind llm, model 'qwen'); install one: {command}"
    )


def test_a_refusal_of_an_unknown_source_says_where_to_look():
    message = refused(Routes.build([]), IMAGE, "m", "unheard-of")
    assert "source 'unheard-of'" in message
    assert "`studio-worker engines`" in message


def test_a_refusal_without_a_source_names_what_could_be_asked_for(house):
    message = refused(Routes.build(house), IMAGE, "gone", None)
    assert "kind image, model 'gone', no source" in message
    assert "big-lama" in message


def test_a_refusal_names_a_few_models_and_counts_the_rest(describe):
    many = describe("many", models={IMAGE: tuple(f"m{number}" for number in range(5000))})
    message = refused(Routes.build([many]), IMAGE, "gone", None)
    assert "and 4,995 more" in message
    assert len(message) < 400


def test_an_engine_that_is_unavailable_is_named_with_reason_and_remedy(describe):
    engine = describe(
        "lama", sources=("onnx",), status="unavailable", reason="no onnxruntime", remedy="pip install onnxruntime"
    )
    assert refused(Routes.build([engine]), IMAGE, "m", "onnx") == (
        "no engine for source 'onnx' (kind image, model 'm'): engine 'lama' (studio-worker-lama 1.0) is unavailable "
        "because no onnxruntime; remedy: pip install onnxruntime"
    )


def test_a_job_without_a_source_hears_of_the_unavailable_engine_that_lists_its_model(describe):
    lame = describe("lama", models={IMAGE: ("big-lama",)}, status="unavailable", reason="it is lame", remedy="mend it")
    assert refused(Routes.build([lame]), IMAGE, "big-lama", None) == (
        "no engine on this worker serves this job (kind image, model 'big-lama', no source): engine 'lama' "
        "(studio-worker-lama 1.0) is unavailable because it is lame; remedy: mend it"
    )
    assert "lame" not in refused(Routes.build([lame]), IMAGE, "other", None)


def test_an_engine_that_is_disabled_is_named_with_the_setting(describe):
    routes = Routes.build(disable([describe("lama", sources=("onnx",))], ["lama"]))
    message = refused(routes, IMAGE, "m", "onnx")
    assert "is disabled; remedy: take it out of disabled_engines" in message


def test_a_broken_plugin_of_a_known_source_is_named_instead_of_being_installed_again(describe):
    broken = describe(
        "llm", distribution="studio-worker-llama", sources=(), models={}, status="broken", reason="ImportError: x"
    )
    message = refused(Routes.build([broken]), LLM, "m", "llama-cpp")
    assert "is broken because ImportError: x; remedy: update or remove studio-worker-llama" in message
    assert "pip install" not in message


def test_an_unavailable_engine_does_not_hide_one_that_is_available(describe):
    gone = describe("alpha", sources=("onnx",), status="unavailable", reason="no driver")
    here = describe("beta", sources=("onnx",))
    assert Routes.build([gone, here]).pick(IMAGE, "m", "onnx").engine is here


@pytest.mark.parametrize("text", ["ok\n2026-01-01 | ERROR | forged", "\x1b[2J", "\u202egnp", "x" * 100_000, "[/nope]"])
def test_text_from_outside_is_escaped_and_bounded(text, log_lines):
    for source in (None, text):
        message = refused(Routes.build([]), IMAGE, text, source)
        assert message.isprintable()
        assert len(message) < 1_000


# log lines


def test_a_pick_leaves_one_structured_line(house, log_lines):
    routes = Routes.build(house)
    routes.pick(LLM, "qwen", "llama-cpp")
    (line,) = log_lines
    assert line == {
        "event": "engine.router",
        "op": "pick",
        "kind": "llm",
        "model": "qwen",
        "source": "llama-cpp",
        "engine": "llama",
        "match": "source",
        "message": "Engine picked",
        "level": "INFO",
    }


def test_a_refusal_leaves_one_warning_with_its_sentence(house, log_lines):
    message = refused(Routes.build(house), LLM, "qwen", "parakeet")
    (line,) = log_lines
    assert (line["event"], line["op"], line["match"], line["level"]) == ("engine.router", "pick", "none", "WARNING")
    assert (line["kind"], line["model"], line["source"], line["reason"]) == ("llm", "qwen", "parakeet", message)


# what the worker says of itself


def test_capabilities_are_the_union_in_order_and_hold_nothing_twice(house, describe):
    routes = Routes.build([*house, describe("zeta", sources=("onnx",), models={IMAGE: ("big-lama", "z")})])
    assert routes.models_per_kind[IMAGE] == ("onnx:*", "big-lama", "sd-cpp:*", "z", "synthetic", "synthetic-image")
    assert routes.sources_per_kind[IMAGE] == ("onnx", "sd-cpp", "synthetic")
    assert set(routes.task_kinds) == set(TaskKind)
    assert len(set(routes.supported_models)) == len(routes.supported_models)
    assert set(routes.supported_models) == {model for ids in routes.models_per_kind.values() for model in ids}


def test_only_available_engines_are_advertised(describe):
    routes = Routes.build(
        [
            describe("alpha", status="unavailable"),
            describe("beta", status="broken"),
            describe("gamma", status="disabled"),
        ]
    )
    assert (routes.task_kinds, routes.supported_models) == ((), ())
    assert (dict(routes.models_per_kind), dict(routes.sources_per_kind)) == ({}, {})


def test_routes_cannot_be_changed(house):
    routes = Routes.build(house)
    with pytest.raises(TypeError):
        routes.models_per_kind[IMAGE] = ()
    with pytest.raises(FrozenInstanceError):
        routes.pick(IMAGE, "m", "onnx").engine = None


# properties

NAMES = st.sampled_from(["alpha", "beta", "gamma"])
SOURCES = st.lists(st.sampled_from(["onnx", "sd-cpp", "llama-cpp"]), min_size=1, max_size=3, unique=True)
MODELS = st.dictionaries(
    st.sampled_from(TaskKind),
    st.lists(st.sampled_from(["a", "b", "c", "synthetic"]), max_size=3, unique=True),
    max_size=3,
)


@st.composite
def houses(draw) -> tuple[list[EngineDescription], dict[str, str]]:
    engines = [
        EngineDescription(
            name=draw(NAMES),
            distribution=f"d{number}",
            plugin="p",
            sources=tuple(draw(SOURCES)),
            models={kind: tuple(ids) for kind, ids in draw(MODELS).items()},
            status=draw(st.sampled_from(["available", "available", "unavailable", "disabled", "broken"])),
        )
        for number in range(draw(st.integers(0, 4)))
    ]
    if draw(st.booleans()):
        ids = {kind: ("synthetic", f"synthetic-{kind.value}") for kind in TaskKind}
        engines.append(EngineDescription(name="synthetic", sources=("synthetic",), models=ids))
    preferences = draw(st.dictionaries(st.sampled_from(["onnx", "sd-cpp"]), NAMES, max_size=2))
    return draw(st.permutations(engines)), preferences


def search(engines: list[EngineDescription], preferences: dict[str, str], kind, source) -> EngineDescription | None:
    """The rule of routing by source, read aloud."""
    serving = [e for e in engines if e.status == "available" and source in e.sources and kind in e.models]
    serving.sort(key=lambda e: (e.name != preferences.get(source), e.is_synthetic, e.name, e.key))
    return serving[0] if serving else None


@given(houses())
def test_picking_by_source_equals_a_linear_search(drawn):
    engines, preferences = drawn
    routes = Routes.build(engines, preferences)
    for kind, source in product(TaskKind, ["onnx", "sd-cpp", "llama-cpp", "synthetic", "other"]):
        wanted = search(engines, preferences, kind, source)
        if wanted is None:
            refused(routes, kind, "a", source)
        else:
            assert routes.pick(kind, "a", source).engine is wanted


@given(houses())
def test_picking_by_model_equals_a_linear_search(drawn):
    engines, _ = drawn
    routes = Routes.build(engines)
    ranked = sorted(engines, key=lambda e: (e.is_synthetic, e.name, e.key))
    for kind, model in product(TaskKind, ["a", "b", "synthetic", "other"]):
        serving = [e for e in ranked if e.status == "available" and model in e.models.get(kind, ())]
        if serving:
            assert routes.pick(kind, model, None).engine is serving[0]
        else:
            refused(routes, kind, model, None)


@given(houses(), st.sampled_from(TaskKind), st.text(max_size=12), st.text(max_size=12))
def test_synthetic_serves_its_own_source_and_no_other(drawn, kind, model, source):
    engines, preferences = drawn
    routes = Routes.build(engines, preferences)
    for wanted in (source, "onnx", "sd-cpp", "llama-cpp"):
        try:
            route = routes.pick(kind, model, wanted)
        except (NoEngine, UnsupportedTask):
            continue
        assert wanted == "synthetic" or not route.engine.is_synthetic


@given(houses())
def test_what_is_advertised_can_be_picked(drawn):
    engines, preferences = drawn
    routes = Routes.build(engines, preferences)
    for kind in routes.task_kinds:
        for source in routes.sources_per_kind[kind]:
            assert routes.pick(kind, "m", source).engine.status == "available"
        for model in routes.models_per_kind[kind]:
            assert kind in routes.pick(kind, model, None).engine.models


def test_the_router_imports_no_plugin_machinery():
    code = "import sys, studio_worker.engines.router\nsys.exit('studio_worker.engines.plugins' in sys.modules)"
    home = Path(studio_worker.__file__).parents[1]
    assert subprocess.run([sys.executable, "-c", code], cwd=home, check=False).returncode == 0
