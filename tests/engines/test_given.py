"""Engines that an embedder gives."""

import sys

import pytest

from studio_worker.engines.given import describe_factories, take_given
from studio_worker.engines.synthetic import SyntheticEngine
from studio_worker.errors import PluginError


async def taken_from(*engines, **options):
    return take_given(await describe_factories(engines, **options))


def test_an_object_is_described_in_this_process(toy):
    engine = toy(lambda job: None, name="mine")
    (taken,) = take_given([engine])
    assert taken.build() is engine
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


@pytest.mark.parametrize("engine", [SyntheticEngine(), "studio_worker.engines.synthetic:SyntheticEngine"])
async def test_the_built_in_engine_may_be_given(engine):
    (taken,) = await taken_from(engine)
    assert taken.description.sources == ("synthetic",)


def test_a_given_engine_may_not_pass_for_the_built_in_one(toy):
    with pytest.raises(PluginError, match="claims 'synthetic'"):
        take_given([toy(lambda job: None, name="synthetic")])


class TestAFactory:
    async def test_is_called_in_a_process_of_its_own_and_nothing_of_it_is_imported_here(self, shop):
        module = shop.engine("alpha")
        (taken,) = await taken_from(f"{module}:Mine")
        assert (taken.description.name, taken.description.isolation) == ("alpha", "process")
        assert module not in sys.modules

    async def test_may_make_several_engines_and_keeps_its_place_among_the_given(self, shop, toy):
        shop.engine("alpha")
        path = shop.folder / "plugin_alpha.py"
        path.write_text(
            f"{path.read_text()}\n\ndef make():\n    other = Mine()\n    other.name = 'beta'\n"
            "    return [Mine(), other]\n"
        )
        taken = await taken_from(toy(lambda job: None, name="one"), "plugin_alpha:make", "plugin_alpha:Mine")
        assert [each.description.name for each in taken] == ["one", "alpha", "beta", "alpha"]
        assert [each.description.isolation for each in taken] == ["thread", *["process"] * 3]
        assert [each.description.position for each in taken] == [0, 1, 2, 3]
        assert [(each.factory, each.index) for each in taken[1:]] == [
            ("plugin_alpha:make", 0),
            ("plugin_alpha:make", 1),
            ("plugin_alpha:Mine", 0),
        ]

    async def test_whose_engines_run_in_this_process_is_called_once_and_when_one_is_needed(self, shop):
        module = shop.engine("alpha", 'isolation = "thread"')
        path = shop.folder / f"{module}.py"
        path.write_text(
            f"{path.read_text()}\n\nmade = []\n\ndef make():\n    other = Mine()\n    other.name = 'beta'\n"
            "    made.append(other)\n    return [Mine(), other]\n"
        )
        alpha, beta = await taken_from(f"{module}:make")
        assert module not in sys.modules
        assert [alpha.build().name, beta.build().name] == ["alpha", "beta"]
        assert sys.modules[module].made == [beta.build()]

    @pytest.mark.parametrize(
        "path",
        ["plugin_alpha", "plugin_alpha:", "plugin_alpha:gone", "nowhere.at.all:make", ":make", "plugin_alpha:hookimpl"],
    )
    async def test_that_leads_nowhere_is_named(self, path, shop):
        shop.engine("alpha")
        with pytest.raises(PluginError, match=f"the engine '{path}' cannot be made: "):
            await taken_from(path)

    @pytest.mark.parametrize(
        ("source", "why"),
        [
            ("import sys\nsys.exit(4)", r"it called sys\.exit\(4\)"),
            ("raise KeyboardInterrupt", "KeyboardInterrupt"),
            ("import os\nos._exit(3)", "(it|its process) .*exit.* 3"),
            ("1 / 0", r"ZeroDivisionError: division by zero \(plugin_bad\.py, line 1\)"),
            ("make = list", "there is none in what it returned"),
            ("make = dict(a=1).copy", r"PluginError: make\(\) returned a str, an Engine is needed"),
            (
                "from studio_worker import Engine\nmake = lambda: Engine",
                r"PluginError: make\(\) returned the class Engine",
            ),
        ],
    )
    async def test_that_is_broken_is_told_as_a_broken_plugin_is(self, source, why, shop):
        (shop.folder / "plugin_bad.py").write_text(source)
        with pytest.raises(PluginError, match=f"the engine 'plugin_bad:make' cannot be made: {why}"):
            await taken_from("plugin_bad:make")

    async def test_of_the_main_script_is_refused(self):
        with pytest.raises(PluginError, match="'__main__:make' cannot be made: another process imports no __main__"):
            await taken_from("__main__:make")

    async def test_that_gives_no_answer_is_ended_and_told(self, shop):
        (shop.folder / "plugin_slow.py").write_text("import time\ntime.sleep(600)\n")
        with pytest.raises(PluginError, match=r"'plugin_slow:make' cannot be made: it gave no answer within 0\.5 s"):
            await taken_from("plugin_slow:make", timeout_secs=0.5)

    async def test_whose_engine_breaks_a_rule_is_refused(self, shop):
        module = shop.engine("alpha", "concurrency = 0")
        with pytest.raises(PluginError, match=f"the engine '{module}:Mine' cannot be used: .*concurrency"):
            await taken_from(f"{module}:Mine")


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
async def test_a_factory_that_makes_no_engine_is_named_with_what_it_made(made, sentence, shop):
    shop.engine("alpha")
    path = shop.folder / "plugin_alpha.py"
    path.write_text(f"{path.read_text()}\n\ndef make():\n    return {made}\n")
    with pytest.raises(PluginError) as refused:
        await taken_from("plugin_alpha:make")
    assert str(refused.value) == f"the engine 'plugin_alpha:make' cannot be made: PluginError: {sentence}"


def test_a_given_engine_that_breaks_a_rule_is_refused(toy):
    engine = toy(lambda job: None)
    engine.concurrency = 0
    with pytest.raises(PluginError, match="concurrency"):
        take_given([engine])
