"""What a child of an environment of its own gets of the worker's: nothing that leads it to the worker's packages."""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from studio_worker.engines.describing import describe
from studio_worker.engines.interpreter import MISLEADING, Interpreter
from studio_worker.engines.messages import Describe
from studio_worker.errors import PluginError

ASKS = (
    "import json, os, sys; "
    "return say(job, json.dumps([sys.path, dict(os.environ), sys.executable, sys.flags.isolated]))"
)


@pytest.fixture
async def seen(environments, workshop, monkeypatch, tmp_path):
    """What an engine in an environment sees of its process: path, variables, interpreter, isolation."""
    home = environments.serving("owl", ASKS)
    for name in MISLEADING:
        monkeypatch.setenv(name, str(tmp_path / "elsewhere"))
    monkeypatch.setenv("STUDIO_WORKER_HF_TOKEN", "hunter2")
    monkeypatch.setenv("HF_TOKEN", "hunter2")
    monkeypatch.setenv("ANYTHING", "else")
    engine = replace(workshop.engine(name="owl"), python=str(home / "bin" / "python"), entry_point="plugin_owl")
    host = workshop.host_of(engine)
    said = await workshop.run(host, name="owl")
    path, variables, executable, isolated = json.loads(said["choices"][0]["message"]["content"])
    return home, path, variables, executable, isolated


async def test_an_engine_of_an_environment_sees_that_environment_alone(seen):
    home, path, variables, executable, isolated = seen
    assert (executable, isolated) == (f"{home}/bin/python", 1)
    assert not {entry for entry in path if entry} & {entry for entry in sys.path if "site-packages" in entry}
    assert any(entry.startswith(str(home)) for entry in path)
    assert "elsewhere" not in json.dumps([path, {name: variables.get(name) for name in MISLEADING}])
    assert set(variables) & set(MISLEADING) == {"VIRTUAL_ENV"}
    assert variables["VIRTUAL_ENV"] == str(home)
    assert variables["PATH"].split(os.pathsep)[0] == str(home / "bin")
    assert str(Path(sys.executable).parent) not in variables["PATH"].split(os.pathsep)


async def test_it_gets_the_rest_of_the_workers_environment_and_no_secret(seen):
    _, _, variables, _, _ = seen
    assert variables["ANYTHING"] == "else"
    assert "hunter2" not in json.dumps(variables)


def test_the_workers_own_interpreter_gets_the_workers_path(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    own = Interpreter()
    assert own.command == (sys.executable, "-P")
    assert own.pythonpath == "/somewhere"
    assert own.import_path == [str(Path(entry).absolute()) for entry in sys.path]


async def test_a_child_of_another_release_refuses_by_naming_both_versions(environments, monkeypatch):
    """As where the environment is updated while the worker runs."""
    monkeypatch.setattr(Describe.__init__, "__defaults__", (99, None))
    home = environments.serving("owl")
    with pytest.raises(PluginError, match=r"speaks version 1 of the engines' protocol, the worker version 99"):
        await describe("plugin_owl", {}, timeout_secs=60.0, interpreter=Interpreter(str(home / "bin" / "python")))
