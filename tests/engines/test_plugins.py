"""Discovery: real children, real little distributions, every way in which a plugin can misbehave."""

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import studio_worker
from studio_worker.engines.description import EngineDescription
from studio_worker.engines.plugins import DescriptionCache, PluginRef, discover, list_plugins
from studio_worker.errors import PluginError
from studio_worker.wire.kinds import TaskKind

PATIENT = 60.0
"""Seconds: no test here is about how fast a child is, but for those that hang."""

SLACK_SECS = 4.0
"""What a machine that runs many tests at once may add to a second."""


async def describe(shop, *names, tables=None, timeout_secs=PATIENT, **options) -> tuple[EngineDescription, ...]:
    return await discover(shop.refs(*names), tables or {}, timeout_secs=timeout_secs, **options)


async def describe_one(shop, **options) -> EngineDescription:
    (engine,) = await describe(shop, **options)
    return engine


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
    engine = await describe_one(shop)
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
    engines = await describe(shop)
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
    assert (await describe_one(shop)).status == "available"


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
    engine = await describe_one(shop, tables={"alpha": {"size": 3}, "beta": {"token": "x"}})
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
    engine = await describe_one(shop)
    assert (engine.status, engine.reason, engine.remedy) == ("unavailable", "libfoo is missing", "apt install libfoo")


async def test_availability_that_raises_makes_the_engine_unavailable(shop):
    shop.engine("alpha", "def availability(self):\n    raise RuntimeError('no \\x1b[2J driver')")
    engine = await describe_one(shop)
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
    engine = await describe_one(shop)
    assert (engine.name, engine.status, engine.hooks) == ("watcher", "available", ("studio_worker_job_started",))
    assert (engine.sources, engine.kinds) == ((), ())


async def test_a_plugin_without_engines_is_listed_as_unavailable(shop):
    shop.engine("empty", hooks="[]")
    engine = await describe_one(shop)
    assert (engine.name, engine.status, engine.reason) == ("empty", "unavailable", "it brings no engine")


async def test_the_built_in_engine_is_described_without_a_child(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    builtin = PluginRef("synthetic", "studio_worker.engines.synthetic", "studio-worker", "0")
    (engine,) = await discover([builtin], {})
    assert (engine.name, engine.sources, engine.status) == ("synthetic", ("synthetic",), "available")
    assert engine.kinds == tuple(TaskKind)


# what a bad plugin is

ENDLESS = """
from itertools import count
from studio_worker import hookimpl

@hookimpl
def studio_worker_engines(config):
    return count()
"""
BAD = {
    "raises at import": ("raise ImportError('no libfoo')", "ImportError: no libfoo"),
    "has a syntax error": ("def (", "SyntaxError"),
    "exits with 0": ("import sys; sys.exit(0)", "it called sys.exit(0)"),
    "exits with words": ("import sys; sys.exit('bye')", "it called sys.exit('bye')"),
    "leaves the process": ("import os; os._exit(0)", "it ended the process with exit status 0"),
    "leaves with a status": ("import os; os._exit(41)", "it ended the process with exit status 41"),
    "aborts": ("import os; os.abort()", "it was killed by SIGABRT"),
    "is shot": ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "it was killed by SIGKILL"),
    "crashes": ("import ctypes; ctypes.string_at(0)", "it was killed by SIGSEGV"),
    "raises a KeyboardInterrupt": ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    "recurses": ("def f(): f()\nf()", "RecursionError"),
    "raises what cannot be shown": (
        "class Odd(Exception):\n    def __str__(self): raise ValueError\nraise Odd",
        "Odd: (its message cannot be read)",
    ),
    "bears no hook": ("x = 1", "implements none of studio_worker_engines"),
    "has a hook with other arguments": (
        "from studio_worker import hookimpl\n@hookimpl\ndef studio_worker_engines(nonsense): return []",
        "nonsense",
    ),
    "raises in the hook": (
        "from studio_worker import hookimpl\n@hookimpl\ndef studio_worker_engines(config): return 1 / 0",
        "ZeroDivisionError",
    ),
    "returns text": (
        "from studio_worker import hookimpl\n@hookimpl\ndef studio_worker_engines(config): return 'engine'",
        "returned str, a list of engines is needed",
    ),
    "returns no engines": (
        "from studio_worker import hookimpl\n@hookimpl\ndef studio_worker_engines(config): return [object()]",
        "returned a object, an Engine is needed",
    ),
    "returns engines without end": (
        ENDLESS,
        "an Engine is needed",
    ),
    "closes all descriptors": ("import os; os.closerange(0, 256)", ""),
    "prints without end": (
        "import os\nwhile True: os.write(1, b'x' * 65536)",
        "it printed more than 16 MiB",
    ),
    "prints without end to stderr": (
        "import sys\nwhile True: sys.stderr.write('y' * 65536)",
        "it printed more than 16 MiB",
    ),
}


@pytest.mark.parametrize("how", BAD)
async def test_a_plugin_is_named_with_its_reason_when_it(how, shop):
    source, reason = BAD[how]
    shop.make("bad", source, version="2.1")
    engine = await describe_one(shop)
    assert (engine.name, engine.distribution, engine.version, engine.status) == ("bad", "bad", "2.1", "broken")
    assert reason in engine.reason
    assert (engine.sources, engine.kinds) == ((), ())


async def test_the_last_words_of_a_plugin_that_leaves_are_kept(shop):
    shop.make("bad", "import os\nprint('cannot find \\x1b[31mlibfoo', flush=True)\nos._exit(3)")
    assert (await describe_one(shop)).reason == (
        "it ended the process with exit status 3; it printed: cannot find \\x1b[31mlibfoo"
    )


async def test_a_plugin_that_prints_much_but_not_too_much_is_described(shop):
    shop.engine("loud", hooks="[print('x' * 1_000_000, flush=True) or Mine()]")
    assert (await describe_one(shop)).status == "available"


@pytest.mark.parametrize(
    "source",
    [
        "import time; time.sleep(600)",
        "while True: pass",
        "import sys; sys.stdin.read(); import threading; threading.Event().wait()",
        "import signal as s, time\nfor n in (s.SIGTERM, s.SIGINT): s.signal(n, s.SIG_IGN)\ntime.sleep(600)",
    ],
    ids=["sleeps", "spins", "waits after reading stdin", "ignores signals"],
)
async def test_a_plugin_that_hangs_is_ended_and_named(shop, source):
    shop.make("stuck", source)
    engine = await describe_one(shop, timeout_secs=1.0)
    assert (engine.status, engine.reason) == ("broken", "it gave no answer within 1 s")


async def test_what_a_plugin_started_ends_with_it(shop, tmp_path):
    pipe = tmp_path / "grandchild"
    os.mkfifo(pipe)
    shop.make(
        "parent",
        f"""
        import subprocess, sys, time
        code = "import sys, time; f = open(sys.argv[1], 'wb', buffering=0); f.write(b'alive'); time.sleep(600)"
        subprocess.Popen([sys.executable, "-c", code, {str(pipe)!r}])
        time.sleep(600)
        """,
    )
    reading = asyncio.create_task(asyncio.to_thread(pipe.read_bytes))
    engine = await describe_one(shop, timeout_secs=8.0)
    assert "no answer" in engine.reason
    # The pipe's end comes only when the last process that holds it has ended.
    assert await asyncio.wait_for(reading, 20) == b"alive"


async def test_a_child_ends_within_a_second_of_its_worker(shop, tmp_path):
    pipe = tmp_path / "child"
    os.mkfifo(pipe)
    shop.make("stuck", f"f = open({str(pipe)!r}, 'wb', buffering=0); f.write(b'alive')\nwhile True: pass")
    code = (
        "import asyncio, sys\n"
        f"sys.path[:0] = [{str(Path(studio_worker.__file__).parents[1])!r}, {str(shop.folder)!r}]\n"
        "from studio_worker.engines.plugins import PluginRef, discover\n"
        "asyncio.run(discover([PluginRef('stuck', 'plugin_stuck', 'stuck', '1')], {}, timeout_secs=600))\n"
    )
    worker = await asyncio.create_subprocess_exec(sys.executable, "-c", code)
    with await asyncio.to_thread(pipe.open, "rb") as reading:
        assert await asyncio.to_thread(reading.read, 5) == b"alive"
        worker.kill()
        await worker.wait()
        killed = time.monotonic()
        # The end of the pipe is the end of the last process that holds it.
        assert await asyncio.wait_for(asyncio.to_thread(reading.read), 20) == b""
        assert time.monotonic() - killed < 1.0 + SLACK_SECS


async def test_changes_to_the_process_stay_in_the_child(shop):
    shop.engine(
        "rude",
        hooks="[__import__('os').chdir('/') or __import__('os').environ.update(RUDE='1') or Mine()]",
    )
    before = os.getcwd()
    assert (await describe_one(shop)).status == "available"
    assert os.getcwd() == before
    assert "RUDE" not in os.environ


async def test_the_child_sees_none_of_the_workers_own_settings(shop, monkeypatch):
    monkeypatch.setenv("STUDIO_WORKER_HF_TOKEN", "hf_secret")
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    shop.make(
        "curious",
        "from os import environ as e\nraise OSError(e.get('STUDIO_WORKER_HF_TOKEN', 'none') + ' ' + e['PYTHONPATH'])",
    )
    assert (await describe_one(shop)).reason == "OSError: none /somewhere"


async def test_a_module_in_the_working_folder_is_not_taken_for_a_library(shop, tmp_path, monkeypatch):
    trap = tmp_path / "trap"
    trap.mkdir()
    (trap / "pluggy.py").write_text("raise SystemExit('trapped')")
    monkeypatch.chdir(trap)
    shop.engine("alpha")
    assert (await describe_one(shop)).status == "available"


async def test_a_broken_plugin_harms_no_other(shop):
    shop.engine("alpha")
    shop.make("bad", "import os; os._exit(1)")
    shop.engine("omega")
    engines = await describe(shop)
    assert [(engine.name, engine.status) for engine in engines] == [
        ("alpha", "available"),
        ("bad", "broken"),
        ("omega", "available"),
    ]


async def test_each_broken_plugin_leaves_one_warning(shop, log_lines):
    shop.make("bad", "raise ImportError('no libfoo')", version="3.2")
    await describe(shop)
    (line,) = [line for line in log_lines if line["level"] == "WARNING"]
    assert (line["event"], line["distribution"], line["version"]) == ("engine.plugin", "bad", "3.2")
    assert line["reason"] == "ImportError: no libfoo"


async def test_strict_mode_raises_and_names_every_broken_plugin(shop):
    shop.make("bad", "raise ImportError('no libfoo')")
    shop.make("worse", "import os; os._exit(9)", version="2")
    shop.engine("alpha")
    with pytest.raises(PluginError) as caught:
        await describe(shop, strict=True)
    assert "'bad' of bad 1.0 cannot be used: ImportError: no libfoo" in str(caught.value)
    assert "'worse' of worse 2 cannot be used: it ended the process with exit status 9" in str(caught.value)


async def test_strict_mode_is_content_with_good_plugins(shop):
    shop.engine("alpha")
    assert (await describe_one(shop, strict=True)).status == "available"


async def test_a_child_that_cannot_be_started_is_a_reason_like_any_other(shop, monkeypatch):
    shop.engine("alpha")
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    engine = await describe_one(shop)
    assert engine.status == "broken"
    assert "its process could not be started" in engine.reason


# what is claimed

CLAIMS = {
    "the built-in source": ('sources = ("synthetic",)', "claims 'synthetic'"),
    "the built-in name": ('name = "synthetic"', "claims 'synthetic'"),
    "no name": ('name = ""', "an engine has no name"),
    "a name that drives a terminal": ('name = "a\\x1b[2J"', "is not plain text"),
    "a long name": ('name = "a" * 65', "is not plain text"),
    "another API version": ("api_version = 2", "plugin API 2, this worker serves 1"),
    "an API version that is no number": ('api_version = "1"', "plugin API -1"),
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
    engine = await describe_one(shop)
    assert (engine.status, engine.distribution) == ("broken", "greedy")
    assert reason in engine.reason
    assert engine.reason.isprintable()


async def test_of_two_engines_with_one_name_in_a_plugin_the_second_is_refused(shop):
    shop.engine("twin", hooks="[Mine(), Mine()]")
    first, second = await describe(shop)
    assert (first.status, second.status) == ("available", "broken")
    assert "two engines of this plugin are called 'twin'" in second.reason


async def test_capabilities_that_raise_break_the_whole_plugin(shop):
    shop.engine("half", "def capabilities(self): raise OSError('disk')")
    engine = await describe_one(shop)
    assert (engine.name, engine.status, engine.reason) == ("half", "broken", "OSError: disk")


# what is disabled


async def test_a_plugin_that_is_disabled_by_name_is_not_run(shop, tmp_path):
    shop.make("dangerous", f"open({str(tmp_path / 'ran')!r}, 'w')")
    engine = await describe_one(shop, disabled=["dangerous"])
    assert (engine.name, engine.status) == ("dangerous", "disabled")
    assert not (tmp_path / "ran").exists()


async def test_an_engine_that_is_disabled_by_name_keeps_what_it_would_serve(shop):
    shop.engine("alpha", 'name = "lama"\nsources = ("onnx",)')
    engine = await describe_one(shop, disabled=["lama"])
    assert (engine.name, engine.status, engine.sources) == ("lama", "disabled", ("onnx",))


# what is remembered


async def test_what_is_unchanged_is_not_asked_again(shop, tmp_path, monkeypatch):
    shop.engine("alpha")
    first = await describe_one(shop, cache=DescriptionCache(tmp_path / "cache" / "plugins.json"))
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    again = await describe_one(shop, cache=DescriptionCache(tmp_path / "cache" / "plugins.json"))
    assert again == first
    assert again.status == "available"


@pytest.mark.parametrize("change", ["version", "table", "file"])
async def test_a_plugin_is_asked_again_after_a_change_of_its(change, shop, tmp_path):
    path = tmp_path / "plugins.json"
    module = shop.engine("alpha")
    await describe(shop, cache=DescriptionCache(path))
    (ref,) = shop.refs()
    before = DescriptionCache(path).key(ref, {})
    table = {}
    if change == "version":
        ref = PluginRef(ref.name, ref.value, ref.distribution, "1.1")
    elif change == "table":
        table = {"size": 1}
    else:
        os.utime(shop.folder / f"{module}.py", ns=(1, 1))
    assert DescriptionCache(path).key(ref, table) != before


def test_the_file_of_an_entry_point_inside_a_package_counts_and_is_not_imported(shop, tmp_path):
    package = shop.folder / "plugin_deep"
    (package / "inner").mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit")
    (package / "inner" / "__init__.py").write_text("")
    ref = PluginRef("deep", "plugin_deep.inner:plugin", "deep", "1")
    cache = DescriptionCache(tmp_path / "plugins.json")
    before = cache.key(ref, {})
    os.utime(package / "inner" / "__init__.py", ns=(1, 1))
    assert cache.key(ref, {}) != before


async def test_a_broken_plugin_is_never_remembered(shop, tmp_path):
    path = tmp_path / "plugins.json"
    shop.make("bad", "raise ImportError")
    await describe(shop, cache=DescriptionCache(path))
    assert not path.exists() or json.loads(path.read_text()) == {}


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe", b'{"k": 1}', b"[" * 100_000])
async def test_a_damaged_cache_is_an_empty_one(content, shop, tmp_path):
    path = tmp_path / "plugins.json"
    path.write_bytes(content)
    shop.engine("alpha")
    assert (await describe_one(shop, cache=DescriptionCache(path))).status == "available"
    assert len(json.loads(path.read_text())) == 1


async def test_a_cache_whose_folder_cannot_be_made_only_remembers_nothing(shop, tmp_path):
    (tmp_path / "file").write_text("")
    shop.engine("alpha")
    engine = await describe_one(shop, cache=DescriptionCache(tmp_path / "file" / "plugins.json"))
    assert engine.status == "available"


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
