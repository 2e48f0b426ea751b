"""All engines of a machine: beside the worker and from environments of their own, each named whatever is wrong."""

import pytest

from studio_worker.config import Config
from studio_worker.engines.description_cache import DescriptionCache
from studio_worker.engines.environments import FINISHED
from studio_worker.engines.installed_engines import ListedEngines
from studio_worker.engines.plugins import refuse_broken
from studio_worker.engines.refusals import refusal
from studio_worker.errors import PluginError
from studio_worker.wire.kinds import TaskKind

OTHERS = ("studio-worker-llama", "studio-worker-onnx", "studio-worker-piper", "studio-worker-sdcpp")
NOT_HERE = (*OTHERS, "studio-worker-whisper")
PATIENT = 60.0


async def engines(tmp_path, *, cache=None, disabled=(), **fields):
    """What is installed, by name, without the engines of this checkout."""
    config = Config(state_dir=tmp_path / "state", disabled_engines=(*NOT_HERE, *disabled), **fields)
    found = await ListedEngines(cache=cache, timeout_secs=PATIENT).described(config)
    return {engine.name: engine for engine in found if engine.distribution not in NOT_HERE}


async def test_an_engine_of_an_environment_is_described_with_where_it_runs(environments, tmp_path):
    home = environments.serving("owl")
    engine = (await engines(tmp_path, engine_environments={"night": home}))["owl"]
    assert (engine.status, engine.environment, engine.python) == ("available", "night", f"{home}/bin/python")
    assert engine.label == "'owl' (plugin-owl 1.0, environment 'night')"


async def test_an_environment_that_was_made_in_the_state_folder_needs_no_setting(environments, tmp_path):
    home = environments.serving("owl")
    (home / FINISHED).touch()
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "environments").mkdir()
    home.rename(tmp_path / "state" / "environments" / "owl")
    assert (await engines(tmp_path))["owl"].environment == "owl"


@pytest.mark.parametrize("isolation", ["thread", "loop"])
async def test_an_engine_that_wants_to_run_in_the_worker_is_refused_there(isolation, environments, tmp_path):
    home = environments.serving("owl")
    module = environments.site(home) / "plugin_owl.py"
    module.write_text(
        module.read_text().replace("class Mine(Engine):", f'class Mine(Engine):\n    isolation = "{isolation}"')
    )
    engine = (await engines(tmp_path, engine_environments={"night": home}))["owl"]
    assert engine.status == "broken"
    assert f"engine 'owl' asks for isolation {isolation!r}" in engine.reason
    assert "isolation = 'process'" in engine.reason


async def test_broken_environments_are_named_and_the_others_go_on(environments, tmp_path, log_lines):
    homes = {"night": environments.serving("owl"), "gone": tmp_path / "gone", "empty": environments.make("empty")}
    found = await engines(tmp_path, engine_environments=homes)
    assert {name: engine.status for name, engine in found.items()} == {
        "owl": "available",
        "gone": "broken",
        "empty": "unavailable",
        "synthetic": "available",
    }
    assert found["gone"].reason == f"there is no {tmp_path / 'gone'}"
    assert found["empty"].reason == "no plugin is installed in it"
    (line,) = [line for line in log_lines if line.get("event") == "engine.plugin"]
    assert (line["environment"], line["reason"]) == ("gone", found["gone"].reason)


async def test_whoever_wants_none_broken_is_told_of_the_environment(tmp_path):
    found = await engines(tmp_path, engine_environments={"gone": tmp_path / "gone"})
    with pytest.raises(PluginError, match="the environment 'gone' cannot be used: there is no"):
        refuse_broken(found.values())


async def test_a_plugin_that_dies_when_it_is_described_is_named_alone(environments, tmp_path):
    home = environments.serving("owl")
    environments.plugin("fox", "...")
    environments.unpack(home, "plugin-fox")
    (environments.site(home) / "plugin_fox.py").write_text("import os; os._exit(7)")
    found = await engines(tmp_path, engine_environments={"night": home})
    assert (found["owl"].status, found["fox"].status) == ("available", "broken")
    assert "exit status 7" in found["fox"].reason


async def test_an_environment_that_is_disabled_is_not_even_asked(environments, tmp_path):
    home = environments.serving("owl")
    (environments.site(home) / "trap.pth").write_text(f"import sys; open({str(tmp_path / 'asked')!r}, 'w')\n")
    found = await engines(tmp_path, engine_environments={"night": home}, disabled=("night",))
    assert (found["night"].status, found["night"].reason) == ("disabled", "disabled_engines names it")
    assert not (tmp_path / "asked").exists()


async def test_a_plugin_that_both_have_is_served_from_its_own_environment(environments, tmp_path, shop):
    home = environments.serving("owl")
    shop.make("plugin-owl", "raise RuntimeError('run beside the worker')", version="0.9")
    config = Config(state_dir=tmp_path / "state", disabled_engines=NOT_HERE, engine_environments={"night": home})
    found = await ListedEngines(timeout_secs=PATIENT).described(config)
    apart, beside = [engine for engine in found if engine.distribution == "plugin-owl"]
    assert (apart.status, apart.version, apart.environment) == ("available", "1.0", "night")
    assert (beside.status, beside.version, beside.environment) == ("unavailable", "0.9", "")
    assert beside.reason == "the environment 'night' brings it too and is used"
    assert apart.key != beside.key


async def test_two_environments_may_hold_two_versions_of_one_plugin(environments, tmp_path):
    homes = {"a": environments.serving("owl"), "b": environments.make("b")}
    environments.plugin("owl", "...", version="2.0")
    environments.unpack(homes["b"], "plugin-owl", "2.0")
    config = Config(state_dir=tmp_path / "state", disabled_engines=NOT_HERE, engine_environments=homes)
    found = [engine for engine in await ListedEngines(timeout_secs=PATIENT).described(config) if engine.name == "owl"]
    assert [(engine.environment, engine.version) for engine in found] == [("a", "1.0"), ("b", "2.0")]
    assert len({engine.key for engine in found}) == 2


async def test_job_hooks_of_an_environment_are_not_called_and_the_log_says_so(environments, tmp_path, log_lines):
    home = environments.serving("owl")
    with (environments.site(home) / "plugin_owl.py").open("a") as file:
        file.write("\n\n@hookimpl\ndef studio_worker_job_started(job):\n    pass\n")
    engine = (await engines(tmp_path, engine_environments={"night": home}))["owl"]
    assert (engine.status, engine.hooks) == ("available", ())
    (line,) = [line for line in log_lines if line.get("event") == "engine.hook"]
    assert (line["plugin"], line["environment"]) == ("owl", "night")


async def test_a_refusal_tells_of_the_broken_environment_that_would_serve_the_source(tmp_path):
    name = "studio-worker-parakeet"
    found = await engines(tmp_path, engine_environments={name: tmp_path / "gone"})
    error = str(refusal(tuple(found.values()), TaskKind.AUDIO_STT, "v3", "parakeet"))
    assert f"engine '{name}' (environment '{name}') is broken because there is no {tmp_path}" in error
    assert f"take '{name}' out of engine_environments" in error


async def test_what_an_environment_said_is_remembered_until_it_changes(environments, tmp_path):
    home = environments.serving("owl")

    async def status() -> str:
        cache = DescriptionCache(tmp_path / "descriptions.json")
        return (await engines(tmp_path, engine_environments={"night": home}, cache=cache))["owl"].status

    assert await status() == "available"
    remembered = (tmp_path / "descriptions.json").read_bytes()
    assert await status() == "available"
    assert (tmp_path / "descriptions.json").read_bytes() == remembered
    (environments.site(home) / "plugin_owl.py").write_text("raise OSError('changed')")
    assert await status() == "broken"
