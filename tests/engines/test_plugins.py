"""Discovery: real children and real little distributions."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import studio_worker
from studio_worker.engines.entry_points import PluginRef, list_plugins
from studio_worker.engines.plugins import describe_each
from studio_worker.wire.kinds import TaskKind

# what is listed


def test_listing_plugins_imports_none_of_them(shop):
    module = shop.engine("alpha")
    assert [(ref.name, ref.value, ref.distribution, ref.version) for ref in shop.refs()] == [
        ("alpha", module, "alpha", "1.0")
    ]
    assert module not in sys.modules


def test_plugins_are_listed_by_distribution_and_name(shop):
    shop.engine("zeta")
    shop.engine("alpha")
    assert [ref.distribution for ref in shop.refs()] == ["alpha", "zeta"]


def test_a_distribution_that_lies_on_the_path_twice_is_listed_once(shop, monkeypatch, tmp_path):
    shop.engine("alpha")
    other = tmp_path / "other"
    other.mkdir()
    (other / "alpha-0.9.dist-info").mkdir()
    (other / "alpha-0.9.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: alpha\nVersion: 0.9\n")
    (other / "alpha-0.9.dist-info" / "entry_points.txt").write_text("[studio_worker]\nalpha = plugin_alpha\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(other)])
    assert [ref.version for ref in list_plugins() if ref.distribution == "alpha"] == ["1.0"]


@pytest.mark.parametrize(
    "damaged", ["[studio_worker]\njust text\n", "[studio_worker\n=\n", "no section = x\n", "[studio_worker]\n= \n"]
)
def test_a_distribution_with_damaged_entry_points_hides_no_other(damaged, shop):
    shop.engine("alpha")
    shop.engine("bad")
    (shop.folder / "bad-1.0.dist-info" / "entry_points.txt").write_text(damaged)
    assert [ref.name for ref in shop.refs("alpha")] == ["alpha"]


@pytest.mark.parametrize("name", ["studio-worker", "studio_worker", "Studio_Worker"])
def test_the_built_in_plugin_is_known_by_distribution_and_value(name):
    assert PluginRef("synthetic", "studio_worker.engines.synthetic", name, "1").is_builtin


def test_a_plugin_that_only_shares_the_built_in_ones_name_is_not_it():
    assert not PluginRef("synthetic", "studio_worker.engines.synthetic", "evil", "1").is_builtin
    assert not PluginRef("synthetic", "evil", "studio-worker", "1").is_builtin


# what a good plugin is


async def test_a_plugin_is_described_in_a_child_and_not_imported_here(shop):
    module = shop.engine("alpha", 'sources = ("alpha-src",)\nconcurrency = 3\ndeterministic = True\nisolation = "loop"')
    engine = await shop.described_one()
    assert module not in sys.modules
    assert (engine.name, engine.distribution, engine.version, engine.plugin) == ("alpha", "alpha", "1.0", "alpha")
    assert (engine.sources, engine.isolation, engine.concurrency) == (("alpha-src",), "loop", 3)
    assert (engine.status, engine.deterministic, engine.entry_point) == ("available", True, module)
    assert engine.models == {TaskKind.IMAGE: ("alpha:*",)}


async def test_one_entry_point_gives_several_engines(shop):
    source = """
        from studio_worker import Engine, EngineCapabilities, TaskKind, hookimpl

        class Mine(Engine):
            def __init__(self, name):
                self.name = name

            def capabilities(self):
                return EngineCapabilities({TaskKind.VIDEO: [self.name]})

            def run(self, job):
                ...
    """
    shop.make("pair", source, hooks='[Mine("one"), Mine("two")]')
    engines = await shop.described()
    assert [(engine.name, engine.position, engine.status) for engine in engines] == [
        ("one", 0, "available"),
        ("two", 1, "available"),
    ]
    assert len({engine.key for engine in engines}) == 2


async def test_an_entry_point_may_be_an_object(shop):
    source = """
        from studio_worker import Engine, EngineCapabilities, TaskKind, hookimpl

        class Mine(Engine):
            name = "obj"

            def capabilities(self):
                return EngineCapabilities({TaskKind.IMAGE: ["obj"]})

            def run(self, job):
                ...

        class Bearer:
            @hookimpl
            def studio_worker_engines(self, config):
                return (engine for engine in [Mine()])

        bearer = Bearer()
    """
    shop.make("obj", source, value="plugin_obj:bearer")
    assert (await shop.described_one()).status == "available"


async def test_a_plugin_gets_its_own_table_and_no_other(shop):
    shop.engine(
        "alpha",
        """
        def capabilities(self):
            return EngineCapabilities({TaskKind.IMAGE: [self.label]})
        """,
        hooks="[Mine.with_label(repr(sorted(config.plugin.items())))]",
    )
    module = shop.folder / "plugin_alpha.py"
    module.write_text(
        module.read_text() + "\n\ndef with_label(label):\n    mine = Mine()\n    mine.label = label\n    return mine\n"
        "\n\nMine.with_label = staticmethod(with_label)\n"
    )
    engine = await shop.described_one(tables={"alpha": {"size": 3}, "beta": {"token": "x"}})
    assert engine.models[TaskKind.IMAGE] == ("[('size', 3)]",)


async def test_an_engine_that_is_not_available_is_shown_with_reason_and_remedy(shop):
    shop.engine(
        "alpha",
        """
        def availability(self):
            from studio_worker import Unavailable
            return Unavailable("libfoo is missing", "apt install libfoo")
        """,
    )
    engine = await shop.described_one()
    assert (engine.status, engine.reason, engine.remedy) == ("unavailable", "libfoo is missing", "apt install libfoo")


async def test_availability_that_raises_makes_the_engine_unavailable(shop):
    shop.engine("alpha", "def availability(self):\n    raise RuntimeError('no \\x1b[2J driver')")
    engine = await shop.described_one()
    assert engine.status == "unavailable"
    assert engine.reason == "availability() raised RuntimeError: no \\x1b[2J driver"


async def test_a_plugin_with_job_hooks_alone_is_listed_as_such(shop):
    shop.make(
        "watcher",
        """
        from studio_worker import hookimpl

        @hookimpl
        def studio_worker_job_started(job):
            ...
        """,
    )
    engine = await shop.described_one()
    assert (engine.name, engine.status, engine.hooks) == ("watcher", "available", ("studio_worker_job_started",))
    assert (engine.sources, engine.kinds) == ((), ())


async def test_a_plugin_without_engines_is_listed_as_unavailable(shop):
    shop.engine("empty", hooks="[]")
    engine = await shop.described_one()
    assert (engine.name, engine.status, engine.reason) == ("empty", "unavailable", "it brings no engine")


async def test_the_built_in_engine_is_described_without_a_child(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    builtin = PluginRef("synthetic", "studio_worker.engines.synthetic", "studio-worker", "0")
    ((engine,),) = await describe_each([builtin], {})
    assert (engine.name, engine.sources, engine.status) == ("synthetic", ("synthetic",), "available")
    assert engine.kinds == tuple(TaskKind)


def test_a_command_that_only_describes_leaves_nothing_behind_and_says_nothing(shop):
    module = shop.engine("alpha")
    code = (
        "import asyncio, sys\n"
        f"sys.path[:0] = [{str(Path(studio_worker.__file__).parents[1])!r}, {str(shop.folder)!r}]\n"
        "from studio_worker.engines.entry_points import PluginRef\n"
        "from studio_worker.engines.plugins import describe_each\n"
        f"ref = PluginRef('alpha', {module!r}, 'alpha', '1')\n"
        "print([engine.status for (engine,) in asyncio.run(describe_each([ref] * 3, {}, 60))])\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("['available', 'available', 'available']", "")


# what is claimed

CLAIMS = {
    "the built-in source": ('sources = ("synthetic",)', "claims 'synthetic'"),
    "the built-in name": ('name = "synthetic"', "claims 'synthetic'"),
    "no name": ('name = ""', "an engine has no name"),
    "a name that drives a terminal": ('name = "a\\x1b[2J"', "is not plain text"),
    "a long name": ('name = "a" * 65', "is not plain text"),
    "another API version": ("api_version = 2", "plugin API 2, this worker serves 1"),
    "an API version that is no number": ('api_version = "1"', "has the api_version of type str"),
    "a source that is no id": ('sources = ("../x",)', "has the source id '../x'"),
    "a wildcard source": ('sources = ("*",)', "has the source id '*'"),
    "a Cyrillic source": ('sources = ("sd-\u0441pp",)', "has the source id"),
    "an unknown isolation": ('isolation = "container"', "has isolation 'container'"),
    "no seats": ("concurrency = 0", "concurrency from 1 to 64"),
    "too many seats": ("concurrency = 65", "concurrency from 1 to 64"),
    "a concurrency that is no number": ("concurrency = True", "concurrency from 1 to 64"),
    "every model": (
        "def capabilities(self): return EngineCapabilities({TaskKind.IMAGE: ['*']})",
        "advertises '*'",
    ),
    "a million models": (
        "def capabilities(self): return EngineCapabilities({TaskKind.IMAGE: [f'm{n}' for n in range(10**6)]})",
        "more than 10,000 models",
    ),
    "a long model id": (
        "def capabilities(self): return EngineCapabilities({TaskKind.IMAGE: ['m' * 513]})",
        "over 512 characters",
    ),
    "a model id that forges a line": (
        "def capabilities(self): return EngineCapabilities({TaskKind.IMAGE: ['m\\nINFO forged']})",
        "control or invisible characters",
    ),
    "an empty model id": (
        "def capabilities(self): return EngineCapabilities({TaskKind.IMAGE: ['']})",
        "is empty",
    ),
    "no kind": ("def capabilities(self): return EngineCapabilities({})", "serves no kind of job"),
}


@pytest.mark.parametrize("claim", CLAIMS)
async def test_an_engine_is_refused_that_claims(claim, shop):
    body, reason = CLAIMS[claim]
    shop.engine("greedy", body)
    engine = await shop.described_one()
    assert (engine.status, engine.distribution) == ("broken", "greedy")
    assert reason in engine.reason
    assert engine.reason.isprintable()


async def test_of_two_engines_with_one_name_in_a_plugin_the_second_is_refused(shop):
    shop.engine("twin", hooks="[Mine(), Mine()]")
    first, second = await shop.described()
    assert (first.status, second.status) == ("available", "broken")
    assert "two engines of this plugin are called 'twin'" in second.reason


async def test_capabilities_that_raise_break_the_whole_plugin(shop):
    shop.engine("half", "def capabilities(self): raise OSError('disk')")
    engine = await shop.described_one()
    assert (engine.name, engine.status) == ("half", "broken")
    assert re.fullmatch(r"OSError: disk \(plugin_half\.py, line \d+\)", engine.reason)


# what is disabled


async def test_a_plugin_that_is_disabled_by_name_is_not_run(shop, tmp_path):
    shop.make("dangerous", f"open({str(tmp_path / 'ran')!r}, 'w')")
    engine = await shop.described_one(disabled=["dangerous"])
    assert (engine.name, engine.status) == ("dangerous", "disabled")
    assert not (tmp_path / "ran").exists()


async def test_an_engine_that_is_disabled_by_name_keeps_what_it_would_serve(shop):
    shop.engine("alpha", 'name = "lama"\nsources = ("onnx",)')
    engine = await shop.described_one(disabled=["lama"])
    assert (engine.name, engine.status, engine.sources) == ("lama", "disabled", ("onnx",))


# what is imported


@pytest.mark.parametrize(
    "module",
    ["plugins", "router", "description", "host", "child", "synthetic", "description_cache"],
)
def test_importing_this_module_brings_no_heavy_library(module):
    code = (
        f"import sys, studio_worker.engines.{module}\n"
        "heavy = {'numpy', 'PIL', 'aiohttp', 'av'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    home = Path(studio_worker.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=home, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
