"""Descriptions: what is believed of an engine's own words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio_worker.engines.base import Engine, EngineCapabilities, Unavailable
from studio_worker.engines.description import EngineDescription, disable, read_reports
from studio_worker.engines.known import DISTRIBUTIONS, install_command
from studio_worker.engines.self_report import MAX_MODELS, report_of, said
from studio_worker.wire.kinds import TaskKind

OWNER = EngineDescription(name="plug", distribution="dist", version="1.0", plugin="plug", entry_point="plug")
GOOD = {
    "name": "lama",
    "sources": ["onnx"],
    "isolation": "process",
    "concurrency": 2,
    "api_version": 1,
    "deterministic": True,
    "models": {"image": ["onnx:*"]},
    "unavailable": None,
}


class Lama(Engine):
    name = "lama"

    def capabilities(self):
        return EngineCapabilities({TaskKind.IMAGE: ["onnx:*", "onnx:*"]})

    def run(self, job):
        raise NotImplementedError


def read(**changes) -> EngineDescription:
    (engine,) = read_reports([{**GOOD, **changes}], OWNER)
    return engine


def test_a_good_report_becomes_an_available_engine_of_its_plugin():
    engine = read()
    assert (engine.name, engine.distribution, engine.plugin, engine.status) == ("lama", "dist", "plug", "available")
    assert (engine.sources, engine.concurrency, engine.deterministic) == (("onnx",), 2, True)
    assert engine.kinds == (TaskKind.IMAGE,)


def test_an_engine_without_sources_serves_its_own_name():
    assert read(sources=[]).sources == ("lama",)


def test_sources_and_models_lose_their_repeats_and_keep_their_order():
    engine = read(sources=["b", "a", "b"], models={"image": ["y", "x", "y"]})
    assert (engine.sources, engine.models[TaskKind.IMAGE]) == (("b", "a"), ("y", "x"))


def test_the_models_of_a_description_cannot_be_changed():
    with pytest.raises(TypeError):
        read().models[TaskKind.LLM] = ()


@pytest.mark.parametrize("report", [None, [], "engine", 3, {}])
def test_what_is_no_report_gives_a_broken_engine(report):
    (engine,) = read_reports([report], OWNER)
    assert (engine.name, engine.status) == ("plug", "broken")


@pytest.mark.parametrize(
    "changes",
    [
        {"name": None},
        {"name": " lama "},
        {"name": "la\u202ema"},
        {"sources": "onnx"},
        {"sources": ["on nx"]},
        {"sources": [3]},
        {"sources": [f"s{number}" for number in range(65)]},
        {"isolation": None},
        {"isolation": ["loop"]},
        {"concurrency": "1"},
        {"concurrency": True},
        {"api_version": None},
        {"models": []},
        {"models": {"image": "onnx:*"}},
        {"models": {"smell": ["x"]}},
        {"models": {"image": [3]}},
        {"models": {"image": [" * "]}},
    ],
    ids=str,
)
def test_a_report_that_breaks_a_rule_gives_a_broken_engine(changes):
    engine = read(**changes)
    assert engine.status == "broken"
    assert engine.reason
    assert engine.sources == ()


def test_a_broken_report_leaves_the_plugins_other_engines_alone():
    first, second = read_reports([{**GOOD, "concurrency": 0}, GOOD], OWNER)
    assert (first.status, second.status) == ("broken", "available")
    assert (first.position, second.position) == (0, 1)


def test_too_many_engines_break_the_plugin():
    (engine,) = read_reports([GOOD] * 65, OWNER)
    assert (engine.status, engine.reason) == ("broken", "returned more than 64 engines")


def test_the_built_in_engine_may_be_synthetic_and_others_may_not():
    synthetic = {**GOOD, "name": "synthetic", "sources": ["synthetic"]}
    assert read_reports([synthetic], OWNER, is_builtin=True)[0].is_synthetic
    assert read_reports([synthetic], OWNER)[0].status == "broken"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
        max_leaves=8,
    ),
    st.sampled_from(sorted(GOOD)),
)
def test_no_report_makes_the_reader_fail_or_say_something_unprintable(value, field):
    (engine,) = read_reports([{**GOOD, field: value}], OWNER)
    assert engine.reason.isprintable()
    assert engine.remedy.isprintable()
    assert engine.name.isprintable()


def test_json_of_an_engine_has_the_fields_that_scripts_rely_on():
    assert read().to_json() == {
        "name": "lama",
        "distribution": "dist",
        "version": "1.0",
        "sources": ["onnx"],
        "kinds": ["image"],
        "isolation": "process",
        "status": "available",
        "reason": "",
        "certificate": None,
    }


def test_two_engines_of_one_plugin_have_keys_of_their_own():
    one, two = read_reports([GOOD, {**GOOD, "name": "other"}], OWNER)
    assert one.key != two.key
    assert hash(one) != hash(two)


@pytest.mark.parametrize("name", ["lama", "plug", "dist"])
def test_an_engine_is_disabled_by_its_own_name_its_plugins_or_its_packages(name):
    (engine,) = disable([read()], [name])
    assert (engine.status, engine.sources) == ("disabled", ("onnx",))


def test_disabling_another_changes_nothing():
    assert disable([read()], ["other", ""]) == (read(),)


# the engine's own words


def test_an_engines_report_is_what_it_is_read_as():
    (engine,) = read_reports([report_of(Lama())], OWNER)
    assert (engine.name, engine.sources, engine.models) == ("lama", ("lama",), {TaskKind.IMAGE: ("onnx:*",)})


def test_a_report_of_too_many_models_is_cut_and_still_seen_as_too_many():
    class Greedy(Lama):
        def capabilities(self):
            return EngineCapabilities({kind: [f"{kind}-{n}" for n in range(MAX_MODELS)] for kind in TaskKind})

    report = report_of(Greedy())
    assert sum(len(ids) for ids in report["models"].values()) == MAX_MODELS + 1
    assert "more than 10,000 models" in read_reports([report], OWNER)[0].reason


def test_availability_that_answers_something_else_is_no_availability():
    class Odd(Lama):
        def availability(self):
            return True

    (engine,) = read_reports([report_of(Odd())], OWNER)
    assert (engine.status, engine.reason) == (
        "unavailable",
        "availability() returned a bool, Available() or Unavailable(reason, remedy) is needed",
    )


def test_a_reason_that_is_no_text_is_no_reason():
    class Odd(Lama):
        def availability(self):
            return Unavailable(5, None)

    (engine,) = read_reports([report_of(Odd())], OWNER)
    assert (engine.status, engine.reason, engine.remedy) == ("unavailable", "it gives no reason", "")


@pytest.mark.parametrize("value", [None, {"llm": ["x"]}, "lama-1"])
def test_capabilities_of_another_type_are_named_with_what_is_needed(value):
    class Odd(Lama):
        def capabilities(self):
            return value

    (engine,) = read_reports([report_of(Odd())], OWNER)
    assert engine.status == "broken"
    assert engine.reason == (
        f"capabilities() of engine 'lama' returned a value of type {type(value).__name__}; "
        "EngineCapabilities({TaskKind.LLM: ['an-id']}) is needed"
    )


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("name", 5, "an engine has the name of type int; a text is needed"),
        ("name", "", "an engine has no name; set `name`"),
        ("sources", 5, "engine 'lama' has the sources of type int; a short tuple of source ids is needed"),
        ("sources", (5,), "engine 'lama' has the source id of type int; ASCII letters, digits and . _ - are allowed"),
        ("isolation", 5, "engine 'lama' has isolation of type int; 'process', 'thread' or 'loop' is needed"),
        ("needs", "nvidia", "engine 'lama' needs a machine of type str; Needs(…) or None is needed"),
    ],
)
def test_a_field_of_the_wrong_type_is_named_with_that_type_and_what_is_needed(field, value, sentence):
    (engine,) = read_reports([report_of(type("Odd", (Lama,), {field: value})())], OWNER)
    assert (engine.status, engine.reason) == ("broken", sentence)


def test_a_model_id_that_is_no_text_breaks_the_engine():
    assert read(models={"image": [{"type": "int"}]}).reason == (
        "engine 'lama' advertises a model id of type int; a text is needed"
    )


@pytest.mark.parametrize("value", [None, object(), 3])
def test_fields_of_the_wrong_type_are_refused_when_they_are_read(value):
    class Odd(Lama):
        name = value
        sources = value

    assert read_reports([report_of(Odd())], OWNER)[0].status == "broken"


def test_an_exception_without_a_message_is_its_type():
    assert said(ValueError()) == "ValueError"


def test_the_message_of_an_exception_is_bounded():
    assert len(said(ValueError("x" * 1_000_000))) < 5_000


# known engines


def test_known_sources_have_an_install_command():
    assert install_command("llama-cpp") == "pip install studio-worker-llama"
    assert all(install_command(source) for source in DISTRIBUTIONS)


def test_an_unknown_source_has_no_install_command():
    assert install_command("unheard-of") is None
