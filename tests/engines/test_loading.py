"""From an entry point to its engines and hooks."""

import sys
import threading

import pytest

from studio_worker.engines.loading import JOB_HOOKS, Plugin, PluginShelf
from studio_worker.errors import EngineError, PluginError

COUNTING = """
from studio_worker import hookimpl, Engine, EngineCapabilities, TaskKind

made = []


class Mine(Engine):
    def __init__(self, name):
        self.name = name
        made.append(name)

    def capabilities(self):
        return EngineCapabilities({TaskKind.IMAGE: ["x"]})

    def run(self, job):
        ...


@hookimpl
def studio_worker_engines(config):
    return [Mine("one"), Mine(config.plugin.get("second", "two"))]
"""


def test_a_module_is_a_plugin(shop):
    plugin = Plugin(shop.make("counting", COUNTING))
    assert [engine.name for engine in plugin.engines({})] == ["one", "two"]
    assert plugin.hooks == ()


@pytest.mark.parametrize(
    "value",
    ["studio-worker-dash", "plugin_counting:", "src/plugin_counting", "plugin_counting:make()", "", "a b"],
)
def test_an_entry_point_that_names_no_module_is_named_with_what_is_needed(value, shop):
    shop.make("counting", COUNTING)
    with pytest.raises(PluginError) as refused:
        Plugin(value)
    assert f"the entry point {value!r} names no module: 'package.module' is needed" in str(refused.value)


def test_an_entry_point_with_extras_is_one(shop):
    assert Plugin(f"{shop.make('counting', COUNTING)} [gpu]").hooks == ()


def test_a_plugin_says_which_job_hooks_it_has(shop):
    module = shop.make(
        "hooked",
        "from studio_worker import hookimpl\n@hookimpl\ndef studio_worker_job_finished(outcome): ...",
    )
    plugin = Plugin(module)
    assert plugin.hooks == (JOB_HOOKS[1],)
    assert plugin.engines({}) == []


def test_a_hook_may_take_fewer_arguments_than_it_is_given(shop):
    module = shop.make(
        "hooked",
        "from studio_worker import hookimpl\nseen = []\n"
        "@hookimpl\ndef studio_worker_job_finished(outcome): seen.append(outcome)",
    )
    Plugin(module).hook(JOB_HOOKS[1])(job=1, outcome=2)
    assert sys.modules[module].seen == [2]


def test_engines_without_end_are_cut(shop):
    module = shop.make(
        "endless",
        "import itertools\nfrom studio_worker import hookimpl\n"
        "@hookimpl\ndef studio_worker_engines(config): return itertools.count()",
    )
    assert len(Plugin(module).engines({})) == 65


def test_a_module_without_hooks_is_no_plugin(shop):
    with pytest.raises(PluginError, match="implements none of"):
        Plugin(shop.make("plain", "x = 1"))


def test_the_shelf_builds_a_plugins_engines_once_for_all_who_ask(shop, describe):
    module = shop.make("counting", COUNTING)
    shelf = PluginShelf({"counting": {"second": "deux"}})
    one = describe("one", plugin="counting", entry_point=module)
    two = describe("deux", plugin="counting", distribution=one.distribution, entry_point=module, position=1)
    found = []
    threads = [threading.Thread(target=lambda: found.append((shelf.engine(one), shelf.engine(two)))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sys.modules[module].made == ["one", "deux"]
    assert len({(id(first), id(second)) for first, second in found}) == 1


@pytest.mark.parametrize(("name", "position"), [("one", 2), ("other", 0)])
def test_an_engine_that_its_plugin_does_not_bring_any_more_is_named(name, position, shop, describe):
    module = shop.make("counting", COUNTING)
    gone = describe(name, plugin="counting", entry_point=module, position=position)
    with pytest.raises(PluginError, match=f"does not bring the engine '{name}' any more"):
        PluginShelf({}).engine(gone)


def test_a_plugin_is_imported_once_it_was_allowed_and_not_asked_about_again(shop, describe):
    module = shop.make("counting", COUNTING)
    one = describe("one", plugin="counting", entry_point=module)
    answers: list[Exception | None] = [EngineError("it has changed"), None]

    def check(engine):
        assert (engine, module in sys.modules) == (one, False)
        if (answer := answers.pop(0)) is not None:
            raise answer

    shelf = PluginShelf({}, check)
    with pytest.raises(EngineError, match="it has changed"):
        shelf.engine(one)
    assert module not in sys.modules
    assert shelf.engine(one) is shelf.engine(one)
    assert answers == []
