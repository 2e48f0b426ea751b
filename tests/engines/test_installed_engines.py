"""Plugins are asked once for all workers that share what was found."""

from __future__ import annotations

import asyncio

import pytest

from studio_worker.engines.installed_engines import InstalledEngines


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


def said(engines) -> list[tuple[str, str]]:
    return [(engine.name, engine.status) for engine in engines]


async def test_a_plugin_is_asked_once_however_many_ask_at_the_same_time(asked):
    asked("birch")
    installed = InstalledEngines(only=["birch"])
    found = await asyncio.gather(*(installed.described({}) for _ in range(20)))
    assert asked.count("birch") == 1
    assert all(said(engines) == [("birch", "available")] for engines in found)


async def test_two_objects_ask_for_themselves(asked):
    asked("birch")
    for _ in range(2):
        await InstalledEngines(only=["birch"]).described({})
    assert asked.count("birch") == 2


async def test_a_plugin_with_another_table_is_asked_again(asked):
    asked("birch")
    installed = InstalledEngines(only=["birch"])
    for table in ({"deep": 1}, {"deep": 2}, {"deep": 1}):
        await installed.described({"birch": table, "nobody": {"deep": len(table)}})
    assert asked.count("birch") == 2


async def test_a_disabled_plugin_is_not_run_until_a_worker_wants_it(asked):
    asked("birch")
    installed = InstalledEngines(only=["birch"])
    assert said(await installed.described({}, ["birch"])) == [("birch", "disabled")]
    assert asked.count("birch") == 0
    assert said(await installed.described({})) == [("birch", "available")]
    assert said(await installed.described({}, ["birch"])) == [("birch", "disabled")]
    assert asked.count("birch") == 1


async def test_a_broken_plugin_is_told_once_and_not_asked_again(asked, caplines):
    asked("birch", source="raise RuntimeError('no bark')\n")
    installed = InstalledEngines(only=["birch"])
    for _ in range(3):
        (engine,) = await installed.described({})
        assert (engine.status, "no bark" in engine.reason) == ("broken", True)
    assert asked.count("birch") == 1
    assert len([line for line in caplines if line["event"] == "engine.plugin"]) == 1


async def test_one_who_stops_waiting_leaves_the_asking_to_the_next(asked):
    asked("birch")
    installed = InstalledEngines(only=["birch"])
    first = asyncio.create_task(installed.described({}))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([first])
    assert said(await installed.described({})) == [("birch", "available")]


@pytest.mark.parametrize(("only", "names"), [((), []), (["synthetic"], ["synthetic"]), (["oak"], [])])
async def test_only_the_plugins_that_are_named_are_looked_at(asked, only, names):
    asked("birch")
    found = await InstalledEngines(only=only).described({})
    assert [engine.name for engine in found] == names
    assert asked.count("birch") == 0


async def test_without_a_choice_every_installed_plugin_is_there(asked):
    asked("birch")
    others = ("llama", "onnx", "piper", "sdcpp", "whisper")
    found = await InstalledEngines().described({}, others)
    assert {"birch", "synthetic"} <= {engine.name for engine in found if engine.status == "available"}


async def test_an_environment_of_its_own_is_asked_once_and_its_plugins_too(environments, tmp_path):
    home = environments.serving("owl")
    module = environments.site(home) / "plugin_owl.py"
    module.write_text(f"open({str(tmp_path / 'owl')!r}, 'a').write('x')\n{module.read_text()}")
    installed = InstalledEngines(only=["owl"])
    for _ in range(3):
        (engine,) = await installed.described({}, (), {"night": home})
        assert (engine.name, engine.status, engine.environment) == ("owl", "available", "night")
    assert (tmp_path / "owl").read_text() == "x"
    (left_out,) = await InstalledEngines(only=["night"]).described({}, ["night"], {"night": home})
    assert left_out.status == "disabled"


async def test_an_environment_that_cannot_be_used_is_told_once(caplines, tmp_path):
    installed = InstalledEngines(only=["night"])
    for _ in range(3):
        (entry,) = await installed.described({}, (), {"night": tmp_path / "gone"})
        assert entry.status == "broken"
    assert len([line for line in caplines if line["event"] == "engine.plugin"]) == 1
