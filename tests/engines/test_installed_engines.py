"""Plugins are asked once for all workers that share what was found."""

from __future__ import annotations

import asyncio

import pytest

from studio_worker.config import Config
from studio_worker.engines.description_cache import DescriptionCache
from studio_worker.engines.installed_engines import InstalledEngines, ListedEngines


@pytest.fixture
def asked(site, tmp_path):
    """Installs a plugin that leaves a line each time that it is imported; says how often that was."""

    def install(name: str, *, source: str = "") -> None:
        module = site.folder / f"{site.install(name)}.py"
        noting = f"open({str(tmp_path / name)!r}, 'a').write('x')\n"
        module.write_text(noting + source + module.read_text())

    def count(name: str) -> int:
        notes = tmp_path / name
        return len(notes.read_text()) if notes.exists() else 0

    install.count = count
    return install


@pytest.fixture
def config(tmp_path):
    """Settings that disable what is named."""

    def make(*disabled: str, **fields: object) -> Config:
        return Config(api_base_url=None, state_dir=tmp_path / "state", disabled_engines=disabled, **fields)

    return make


def said(engines) -> list[tuple[str, str]]:
    return [(engine.name, engine.status) for engine in engines]


async def test_a_plugin_is_asked_once_however_many_ask_at_the_same_time(asked, config):
    asked("birch")
    installed = InstalledEngines(only=["birch"])
    found = await asyncio.gather(*(installed.described(config()) for _ in range(20)))
    assert asked.count("birch") == 1
    assert all(said(engines) == [("birch", "available")] for engines in found)


async def test_two_objects_ask_for_themselves(asked, config):
    asked("birch")
    for _ in range(2):
        await InstalledEngines(only=["birch"]).described(config())
    assert asked.count("birch") == 2


async def test_a_plugin_with_another_table_is_asked_again(asked, config):
    asked("birch")
    installed = InstalledEngines(only=["birch"])
    for table in ({"deep": 1}, {"deep": 2}, {"deep": 1}):
        await installed.described(config(plugins={"birch": table, "nobody": {"deep": len(table)}}))
    assert asked.count("birch") == 2


async def test_a_disabled_plugin_is_not_run_until_a_worker_wants_it(asked, config):
    asked("birch")
    installed = InstalledEngines(only=["birch"])
    assert said(await installed.described(config("birch"))) == [("birch", "disabled")]
    assert asked.count("birch") == 0
    assert said(await installed.described(config())) == [("birch", "available")]
    assert said(await installed.described(config("birch"))) == [("birch", "disabled")]
    assert asked.count("birch") == 1


async def test_a_broken_plugin_is_told_once_and_asked_again_by_whoever_comes_later(asked, caplines, config):
    asked("birch", source="raise RuntimeError('no bark')\n")
    installed = InstalledEngines(only=["birch"])
    for _ in range(3):
        (engine,) = await installed.described(config())
        assert (engine.status, "no bark" in engine.reason) == ("broken", True)
    assert asked.count("birch") == 3
    assert len([line for line in caplines if line["event"] == "engine.plugin"]) == 1


async def test_a_broken_plugin_is_asked_once_for_all_who_ask_at_the_same_time(asked, config):
    asked("birch", source="raise RuntimeError('no bark')\n")
    installed = InstalledEngines(only=["birch"])
    await asyncio.gather(*(installed.described(config()) for _ in range(5)))
    assert asked.count("birch") == 1


async def test_a_plugin_that_was_mended_is_asked_no_more(asked, site, config):
    asked("birch", source="raise RuntimeError('no bark')\n")
    installed = InstalledEngines(only=["birch"])
    assert said(await installed.described(config())) == [("birch", "broken")]
    module = site.folder / "installed_birch.py"
    module.write_text(module.read_text().replace("raise RuntimeError('no bark')", "..."))
    for _ in range(2):
        assert said(await installed.described(config())) == [("birch", "available")]
    assert asked.count("birch") == 2


async def test_an_environment_that_was_mended_is_seen(environments, config):
    installed = InstalledEngines(only=["night", "owl"])
    settings = config(engine_environments={"night": environments.folder / "owl"})
    assert [engine.status for engine in await installed.described(settings)] == ["broken"]
    environments.serving("owl")
    assert said(await installed.described(settings)) == [("owl", "available")]


async def test_one_who_stops_waiting_leaves_the_asking_to_the_next(asked, config):
    asked("birch")
    installed = InstalledEngines(only=["birch"])
    first = asyncio.create_task(installed.described(config()))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([first])
    assert said(await installed.described(config())) == [("birch", "available")]


@pytest.mark.parametrize(("only", "names"), [((), []), (["synthetic"], ["synthetic"])])
async def test_only_the_plugins_that_are_named_are_looked_at(asked, only, names, config):
    asked("birch")
    found = await InstalledEngines(only=only).described(config())
    assert [engine.name for engine in found] == names
    assert asked.count("birch") == 0


async def test_a_name_that_no_plugin_has_is_an_engine_that_is_not_there_and_told_once(caplines, config):
    installed = InstalledEngines(only=["oak", "synthetic"])
    for _ in range(2):
        found = await installed.described(config())
        assert said(found) == [("synthetic", "available"), ("oak", "unavailable")]
    assert "no installed plugin is called so; installed are " in found[1].reason
    assert "synthetic" in found[1].reason
    assert [line["plugin"] for line in caplines if line["event"] == "engine.plugin"] == ["oak"]


@pytest.mark.parametrize("only", ["llama", b"llama", 5, [5], ["llama", None]])
def test_a_choice_that_is_no_list_of_names_is_refused(only):
    with pytest.raises(TypeError, match="only: names of plugins are needed"):
        InstalledEngines(only=only)


async def test_without_a_choice_every_installed_plugin_is_there(asked, config):
    asked("birch")
    others = ("llama", "onnx", "piper", "sdcpp", "whisper")
    found = await InstalledEngines().described(config(*others))
    assert {"birch", "synthetic"} <= {engine.name for engine in found if engine.status == "available"}


async def test_an_environment_of_its_own_is_asked_once_and_its_plugins_too(environments, tmp_path, config):
    home = environments.serving("owl")
    module = environments.site(home) / "plugin_owl.py"
    module.write_text(f"open({str(tmp_path / 'owl')!r}, 'a').write('x')\n{module.read_text()}")
    installed = InstalledEngines(only=["owl"])
    for _ in range(3):
        (engine,) = await installed.described(config(engine_environments={"night": home}))
        assert (engine.name, engine.status, engine.environment) == ("owl", "available", "night")
    assert (tmp_path / "owl").read_text() == "x"
    (left_out,) = await InstalledEngines(only=["night"]).described(config("night", engine_environments={"night": home}))
    assert left_out.status == "disabled"


async def test_an_environment_that_cannot_be_used_is_told_once(caplines, tmp_path, config):
    installed = InstalledEngines(only=["night"])
    for _ in range(3):
        (entry,) = await installed.described(config(engine_environments={"night": tmp_path / "gone"}))
        assert entry.status == "broken"
    assert len([line for line in caplines if line["event"] == "engine.plugin"]) == 1


async def test_whoever_only_lists_asks_no_plugin_that_is_as_it_was(asked, config, tmp_path):
    asked("birch")
    for _ in range(2):
        cache = DescriptionCache(tmp_path / "descriptions.json")
        assert said(await ListedEngines(only=["birch"], cache=cache).described(config())) == [("birch", "available")]
    assert asked.count("birch") == 1


async def test_whoever_only_lists_waits_no_longer_than_they_like(asked, config):
    asked("birch", source="import time\ntime.sleep(600)\n")
    (engine,) = await ListedEngines(only=["birch"], timeout_secs=0.5).described(config())
    assert (engine.status, engine.reason) == ("broken", "it gave no answer within 0.5 s")
