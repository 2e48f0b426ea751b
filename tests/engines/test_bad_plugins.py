"""Every way in which a plugin can misbehave while it is described: named, bounded, harmless to others."""

import asyncio
import os
import sys
import time
from pathlib import Path

import pytest

import studio_worker
from studio_worker.engines.plugins import refuse_broken
from studio_worker.errors import PluginError

SLACK_SECS = 4.0
"""What a machine that runs many tests at once may add to a second."""


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
    "awaits in a job hook": (
        "from studio_worker import hookimpl\n@hookimpl\nasync def studio_worker_job_finished(job): pass",
        "studio_worker_job_finished of 'plugin_bad' is an async def, which nobody awaits: make it a plain def",
    ),
    "awaits for its engines": (
        "from studio_worker import hookimpl\n@hookimpl\nasync def studio_worker_engines(config): return []",
        "studio_worker_engines of 'plugin_bad' is an async def",
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
    "returns a class": (
        "import studio_worker as w\nclass Fox(w.Engine): 1\n@w.hookimpl\ndef studio_worker_engines(): return [Fox]",
        "studio_worker_engines returned the class Fox, an Engine is needed: Fox()",
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
    engine = await shop.described_one()
    assert (engine.name, engine.distribution, engine.version, engine.status) == ("bad", "bad", "2.1", "broken")
    assert reason in engine.reason
    assert (engine.sources, engine.kinds) == ((), ())


async def test_a_plugin_that_is_a_class_in_place_of_an_object_is_told_so(shop):
    source = """
        from studio_worker import hookimpl

        class Bearer:
            @hookimpl
            def studio_worker_job_finished(self, job):
                pass
    """
    shop.make("bearer", source, value="plugin_bearer:Bearer")
    assert "'plugin_bearer:Bearer' is a class: name a module, or an object" in (await shop.described_one()).reason


async def test_the_last_words_of_a_plugin_that_leaves_are_kept(shop):
    shop.make("bad", "import os\nprint('cannot find \\x1b[31mlibfoo', flush=True)\nos._exit(3)")
    assert (await shop.described_one()).reason == (
        "it ended the process with exit status 3; it printed: cannot find \\x1b[31mlibfoo"
    )


async def test_a_plugin_that_prints_much_but_not_too_much_is_described(shop):
    shop.engine("loud", hooks="[print('x' * 1_000_000, flush=True) or Mine()]")
    assert (await shop.described_one()).status == "available"


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
    engine = await shop.described_one(timeout_secs=1.0)
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
    engine = await shop.described_one(timeout_secs=8.0)
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
        "from studio_worker.engines.entry_points import PluginRef\n"
        "from studio_worker.engines.plugins import describe_each\n"
        "asyncio.run(describe_each([PluginRef('stuck', 'plugin_stuck', 'stuck', '1')], {}, 600))\n"
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
    assert (await shop.described_one()).status == "available"
    assert os.getcwd() == before
    assert "RUDE" not in os.environ


async def test_the_child_sees_none_of_the_workers_own_settings(shop, monkeypatch):
    monkeypatch.setenv("STUDIO_WORKER_HF_TOKEN", "hf_secret")
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    shop.make(
        "curious",
        "from os import environ as e\nraise OSError(e.get('STUDIO_WORKER_HF_TOKEN', 'none') + ' ' + e['PYTHONPATH'])",
    )
    assert (await shop.described_one()).reason == "OSError: none /somewhere (plugin_curious.py, line 2)"


async def test_a_plugin_that_quotes_its_own_key_is_told_without_it(shop):
    shop.make(
        "keyed",
        """
        from studio_worker import hookimpl

        @hookimpl
        def studio_worker_engines(config):
            raise OSError(f"401 for https://api.example/?key={config.plugin['api_key']}")
        """,
    )
    engine = await shop.described_one(tables={"keyed": {"api_key": "k-0123456789"}})
    assert engine.reason.startswith("OSError: 401 for https://api.example/?key=*** (")


async def test_an_engine_that_names_its_key_as_what_is_wrong_is_shown_without_it(shop):
    shop.make(
        "keyed",
        """
        from studio_worker import Engine, EngineCapabilities, TaskKind, Unavailable, hookimpl

        class Keyed(Engine):
            name = "keyed"

            def __init__(self, key):
                self.key = key

            def capabilities(self):
                return EngineCapabilities({TaskKind.LLM: ["keyed"]})

            def availability(self):
                return Unavailable(f"the server does not know {self.key}", f"ask for another than {self.key}")

            def run(self, job):
                raise NotImplementedError

        @hookimpl
        def studio_worker_engines(config):
            return [Keyed(config.plugin["api_key"])]
        """,
    )
    engine = await shop.described_one(tables={"keyed": {"api_key": "k-0123456789"}})
    assert engine.status == "unavailable"
    assert (engine.reason, engine.remedy) == ("the server does not know ***", "ask for another than ***")


async def test_a_module_in_the_working_folder_is_not_taken_for_a_library(shop, tmp_path, monkeypatch):
    trap = tmp_path / "trap"
    trap.mkdir()
    (trap / "pluggy.py").write_text("raise SystemExit('trapped')")
    monkeypatch.chdir(trap)
    shop.engine("alpha")
    assert (await shop.described_one()).status == "available"


async def test_a_broken_plugin_harms_no_other(shop):
    shop.engine("alpha")
    shop.make("bad", "import os; os._exit(1)")
    shop.engine("omega")
    engines = await shop.described()
    assert [(engine.name, engine.status) for engine in engines] == [
        ("alpha", "available"),
        ("bad", "broken"),
        ("omega", "available"),
    ]


async def test_each_broken_plugin_leaves_one_warning(shop, log_lines):
    shop.make("bad", "raise ImportError('no libfoo')", version="3.2")
    await shop.described()
    (line,) = [line for line in log_lines if line["level"] == "WARNING"]
    assert (line["event"], line["distribution"], line["version"]) == ("engine.plugin", "bad", "3.2")
    assert line["reason"] == "ImportError: no libfoo (plugin_bad.py, line 1)"


async def test_whoever_wants_none_broken_is_told_of_every_broken_plugin(shop):
    shop.make("bad", "raise ImportError('no libfoo')")
    shop.make("worse", "import os; os._exit(9)", version="2")
    shop.engine("alpha")
    engines = await shop.described()
    with pytest.raises(PluginError) as caught:
        refuse_broken(engines)
    assert "'bad' of bad 1.0 cannot be used: ImportError: no libfoo" in str(caught.value)
    assert "'worse' of worse 2 cannot be used: it ended the process with exit status 9" in str(caught.value)


async def test_whoever_wants_none_broken_is_content_with_good_plugins(shop):
    shop.engine("alpha")
    refuse_broken(await shop.described())


async def test_a_child_that_cannot_be_started_is_a_reason_like_any_other(shop, monkeypatch):
    shop.engine("alpha")
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    engine = await shop.described_one()
    assert engine.status == "broken"
    assert "its process could not be started" in engine.reason


async def test_the_place_of_an_error_is_the_last_of_the_plugins_own_and_survives_a_long_message(shop):
    shop.make(
        "bad",
        "import json\ndef fail():\n    json.loads('{' + '\"' * 9)\ntry:\n    fail()\n"
        "except ValueError as error:\n    raise OSError('x' * 5_000) from error\n",
    )
    (engine,) = [each for each in await shop.described() if each.name == "bad"]
    assert engine.reason.endswith("xx (plugin_bad.py, line 7)")
    assert str(shop.folder) not in engine.reason
