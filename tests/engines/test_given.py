"""Engines that an embedder gives."""

import pytest

from studio_worker.engines.given import take_given
from studio_worker.engines.synthetic import SyntheticEngine
from studio_worker.errors import PluginError


def test_an_object_is_described_in_this_process(toy):
    engine = toy(lambda job: None, name="mine")
    (taken,) = take_given([engine])
    assert taken.engine is engine
    assert (taken.description.name, taken.description.sources, taken.description.status) == (
        "mine",
        ("mine",),
        "available",
    )
    assert (taken.description.plugin, taken.description.distribution) == ("", "")


@pytest.mark.parametrize("isolation", ["thread", "loop"])
def test_an_object_keeps_the_isolation_that_it_can_have(isolation, toy, log_lines):
    engine = toy(lambda job: None)
    engine.isolation = isolation
    assert take_given([engine])[0].description.isolation == isolation
    assert log_lines == []


def test_each_given_engine_has_a_key_of_its_own(toy):
    taken = take_given([toy(lambda job: None, name="one"), toy(lambda job: None, name="two")])
    assert len({each.description.key for each in taken}) == 2


def test_the_built_in_engine_may_be_given():
    (taken,) = take_given([SyntheticEngine()])
    assert taken.description.sources == ("synthetic",)


def test_a_given_engine_may_not_pass_for_the_built_in_one(toy):
    with pytest.raises(PluginError, match="claims 'synthetic'"):
        take_given([toy(lambda job: None, name="synthetic")])


def test_a_factory_is_imported_by_its_path_and_may_make_several(shop):
    shop.engine("alpha")
    path = shop.folder / "plugin_alpha.py"
    path.write_text(
        path.read_text() + "\n\ndef make():\n    other = Mine()\n    other.name = 'beta'\n    return [Mine(), other]\n"
    )
    taken = take_given(["plugin_alpha:make", "plugin_alpha:Mine"])
    assert [each.description.name for each in taken] == ["alpha", "beta", "alpha"]
    assert [each.description.isolation for each in taken] == ["process"] * 3


@pytest.mark.parametrize(
    "path",
    ["plugin_alpha", "plugin_alpha:", "plugin_alpha:gone", "nowhere.at.all:make", ":make", "plugin_alpha:hookimpl"],
)
def test_a_path_that_leads_nowhere_is_named(path, shop):
    shop.engine("alpha")
    with pytest.raises(PluginError) as caught:
        take_given([path])
    assert path in str(caught.value) or "cannot be described" in str(caught.value)


@pytest.mark.parametrize("thing", [object(), 3, None])
def test_what_is_no_engine_is_named(thing):
    with pytest.raises(PluginError, match="an Engine is needed"):
        take_given([thing])


@pytest.mark.parametrize(
    ("thing", "sentence"),
    [
        (SyntheticEngine, "the worker was given the class SyntheticEngine, an Engine is needed: SyntheticEngine()"),
        (3, "the worker was given a int, an Engine is needed, or 'package.module:factory'"),
    ],
)
def test_a_class_in_the_place_of_an_engine_is_named_with_its_call(thing, sentence):
    with pytest.raises(PluginError) as refused:
        take_given([thing])
    assert str(refused.value).startswith(sentence)


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        ("Mine", "make() returned the class Mine, an Engine is needed: Mine()"),
        ("[Mine(), 3]", "make() returned a int, an Engine is needed"),
        ("'engine'", "make() returned a str, an Engine is needed"),
        ("None", "make() returned a NoneType, an Engine is needed"),
    ],
)
def test_a_factory_that_makes_no_engine_is_named_with_what_it_made(made, sentence, shop):
    shop.engine("alpha")
    path = shop.folder / "plugin_alpha.py"
    path.write_text(f"{path.read_text()}\n\ndef make():\n    return {made}\n")
    with pytest.raises(PluginError) as refused:
        take_given(["plugin_alpha:make"])
    assert str(refused.value) == f"the engine 'plugin_alpha:make' cannot be made: TypeError: {sentence}"


def test_a_given_engine_that_breaks_a_rule_is_refused(toy):
    engine = toy(lambda job: None)
    engine.concurrency = 0
    with pytest.raises(PluginError, match="concurrency"):
        take_given([engine])
