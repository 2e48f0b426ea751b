"""The example plugins as their users have them: built as wheels, installed, found."""

import asyncio
import json
import zipfile

import pytest
from aiohttp.test_utils import TestServer

from .conftest import PLUGINS, ROOT
from .stand_ins import ComfyUi, talker


def test_every_example_is_found_and_none_is_broken(environment):
    found = {engine["name"]: engine for engine in environment.json("engines", "list")}
    assert {"shout", "openai", "comfyui", "tally", "synthetic"} == set(found)
    assert "broken" not in {engine["status"] for engine in found.values()}


def test_a_wheel_holds_the_code_and_its_types(installed):
    for wheel in (installed.parent / "wheels").glob("studio_worker_*.whl"):
        names = [name.split("/")[-1] for name in zipfile.ZipFile(wheel).namelist()]
        assert {"__init__.py", "py.typed", "entry_points.txt"} <= set(names)


def test_the_smallest_engine_has_thirty_lines_at_most():
    code = ROOT / "docs/examples/plugins/shout/src/studio_worker_shout/__init__.py"
    assert len(code.read_text().splitlines()) <= 30


def test_the_smallest_engine_answers(environment):
    done = environment.json("generate", "llm", "--model", "shout-1", "--prompt", "is anybody there")
    assert "IS ANYBODY THERE" in json.dumps(done)


@pytest.mark.parametrize("name", ["openai", "comfyui"])
def test_a_bridge_without_a_server_says_what_to_set(environment, name):
    engine = environment.engine(name)
    assert engine["status"] == "unavailable"
    assert engine["reason"] == f"{name}_url is not set"


def test_a_command_of_a_plugin_shows_what_its_hooks_wrote_down(environment):
    assert environment.call("tally") == "no job has ended yet\n"
    for prompt in ("one", "two"):
        environment.call("generate", "llm", "--model", "shout-1", "--prompt", prompt)
    [row] = environment.json("tally")
    assert row == {"engine": "shout", "kind": "llm", "done": 2, "failed": 0, "cancelled": 0} | {
        "median_secs": row["median_secs"]
    }
    assert "shout" in environment.call("tally")


def test_the_commands_help_names_the_package_that_brings_it(environment):
    assert "From studio-worker-tally 1.0.0." in environment.call("--help")


def test_the_smallest_engine_passes_the_conformance_kit(environment):
    assert "passed" in environment.call("plugins", "check", "studio-worker-shout")


def test_the_built_in_engine_passes_it_as_installed(environment):
    environment.call("plugins", "check", "studio-worker")


async def test_the_bridges_pass_it_on_servers_that_answer(environment, tmp_path):
    tasks = [
        ("openai", "m", {"kind": "llm", "messages": [{"role": "user", "content": "Hello"}], "maxTokens": 8}),
        ("comfyui", "d", {"kind": "image", "prompt": "a cup", "width": 64, "height": 48, "steps": 3, "ext": "png"}),
    ]
    lines = [{"model": model, "task": task, "modelSource": source(engine)} for engine, model, task in tasks]
    (tmp_path / "samples.jsonl").write_text("\n".join(map(json.dumps, lines)))
    async with TestServer(talker()) as openai, TestServer(ComfyUi().app) as comfyui:
        environment.configure(
            f"[plugins.bridge]\nopenai_url = '{openai.make_url('/v1')}'\ncomfyui_url = '{comfyui.make_url('')}'\n"
        )
        words = ("plugins", "check", "studio-worker-bridge", "--samples", tmp_path / "samples.jsonl")
        said = await asyncio.to_thread(environment.call, *words)
    assert "failed" not in said


def source(engine):
    return {"engine": engine, "files": [], "cliDefaults": {"cfgScale": 0, "steps": 0, "width": 0, "height": 0}}


def test_each_example_has_a_page_of_its_own():
    assert all((folder / "README.md").read_text().startswith(f"# studio-worker-{folder.name}") for folder in PLUGINS)
