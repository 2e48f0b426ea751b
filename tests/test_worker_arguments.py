"""What an embedder hands to a worker is looked at where it is handed over."""

from __future__ import annotations

import pytest

from studio_worker import Engine, EngineCapabilities, TaskKind, Worker


class Ok(Engine):
    """Serves texts, where it is given as an object."""

    name = "ok"
    isolation = "loop"

    def capabilities(self):
        return EngineCapabilities({TaskKind.LLM: ["ok"]})

    async def run(self, job):
        raise NotImplementedError


@pytest.mark.parametrize(
    ("engines", "sentence"),
    [
        (Ok(), "engines: a list of engines is needed, not Ok"),
        ("package.module:make", "engines: a list of engines is needed, not str"),
        (None, "engines: a list of engines is needed, not None"),
        ([Ok(), Ok], r"engines\[1\]: Ok is a class: give an object of it, Ok\(…\)"),
        ([3], r"engines\[0\]: an Engine or 'package.module:factory' is needed, not int"),
    ],
)
def test_engines_of_a_wrong_type_are_named(engines, sentence, settings):
    with pytest.raises(TypeError, match=f"^{sentence}$"):
        Worker(settings(), engines=engines)


@pytest.mark.parametrize("config", [None, {"api_base_url": None}])
def test_settings_of_a_wrong_type_are_named(config):
    with pytest.raises(TypeError, match=r"^config: a Config is needed, not (None|dict)$"):
        Worker(config)


@pytest.mark.parametrize("installed", [[], ["llama"], "llama"])
def test_installed_engines_of_a_wrong_type_are_named(installed, settings):
    with pytest.raises(TypeError, match=r"^installed: an InstalledEngines is needed, not (list|str)$"):
        Worker(settings(), installed=installed)


async def test_engines_may_come_from_any_iterable(settings):
    async with Worker(settings(), engines=(Ok() for _ in range(1))) as worker:
        assert "ok" in [engine.name for engine in worker.engines]
