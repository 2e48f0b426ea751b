from __future__ import annotations

import json
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from jinja2 import Environment as Templates

from studio_worker.cli.plugins_project import (
    FILES,
    MAX_NAME,
    SUMMARIES,
    TEMPLATES,
    Project,
    ProjectNotMade,
    read_new_name,
)
from studio_worker.testing import read_samples
from studio_worker.wire.kinds import TaskKind

from .environments import Environment

Call = Callable[..., Any]
LONG = "abcdefghij-klmnopqrst-uvwxyzabc"[:MAX_NAME]


def make(folder: Path, kind: TaskKind = TaskKind.IMAGE, name: str = "plasma") -> Path:
    project = Project(name, kind, folder / f"studio-worker-{name}")
    project.write()
    return project.folder


def python(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *args], cwd=folder, capture_output=True, text=True, check=False)


def build(folder: Path) -> Path:
    """The project's wheel."""
    done = python(folder, "-m", "hatchling", "build", "--target", "wheel")
    assert done.returncode == 0, done.stderr
    (wheel,) = (folder / "dist").glob("*.whl")
    return wheel


@pytest.mark.parametrize("kind", list(TaskKind))
def test_a_new_plugin_installed_as_a_wheel_passes_its_own_tests_and_the_conformance_kit(
    kind: TaskKind, tmp_path: Path
) -> None:
    folder = make(tmp_path, kind)
    environment = Environment.make(tmp_path, having=("pytest", "pytest-asyncio"))
    environment.put(build(folder))
    done = subprocess.run(
        [environment.python, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=folder,
        env=environment.environ(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "failed" not in done.stdout
    assert "warning" not in done.stdout.lower() + done.stderr.lower()


def test_every_kind_of_plugin_is_clean_for_its_own_linter_whatever_its_name(tmp_path: Path) -> None:
    folders = [make(tmp_path / kind, kind, name) for name in ("a", LONG) for kind in TaskKind]
    for command in (("check",), ("format", "--check", "--diff")):
        for folder in folders:
            done = python(folder, "-m", "ruff", *command, "--no-cache", "--quiet", ".")
            assert done.returncode == 0, done.stdout + done.stderr


def test_the_wheel_has_what_a_plugin_needs_and_no_tests(tmp_path: Path) -> None:
    names = zipfile.ZipFile(build(make(tmp_path, TaskKind.AUDIO_STT))).namelist()
    package = {name.partition("/")[2] for name in names if name.startswith("studio_worker_plasma/")}
    assert package == {"__init__.py", "engine.py", "py.typed", "conformance.jsonl", "sample.wav"}
    assert not [name for name in names if "test" in name]


@pytest.mark.parametrize("kind", list(TaskKind))
def test_its_samples_are_of_its_kind_and_their_files_are_there(kind: TaskKind, tmp_path: Path) -> None:
    samples = read_samples(make(tmp_path, kind) / "src" / "studio_worker_plasma" / "conformance.jsonl")
    assert {sample.kind for sample in samples} == {kind}
    assert not [sample.missing for sample in samples if sample.missing]


def test_its_metadata_names_the_entry_point_and_what_it_needs(tmp_path: Path) -> None:
    project = tomllib.loads((make(tmp_path) / "pyproject.toml").read_text())["project"]
    assert project["entry-points"] == {"studio_worker": {"plasma": "studio_worker_plasma"}}
    assert (project["name"], project["dependencies"]) == ("studio-worker-plasma", ["studio-worker"])


def test_every_template_becomes_a_file_and_every_kind_has_its_own() -> None:
    wanted = {template.format(kind=kind.value) for template in FILES for kind in TaskKind}
    there = {path.relative_to(TEMPLATES).as_posix() for path in TEMPLATES.rglob("*") if path.is_file()}
    assert there - {"audio_stt/sample.wav"} == wanted
    assert set(SUMMARIES) == set(TaskKind)


def test_a_template_is_written_in_jinja() -> None:
    for path in TEMPLATES.rglob("*.jinja"):
        Templates().parse(path.read_text())


def test_the_command_says_what_comes_next(cli: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = cli("plugins", "new", "Studio_Worker-Plasma", "--kind", "tts")
    assert outcome.status == 0, outcome.err
    assert (tmp_path / "studio-worker-plasma" / "src" / "studio_worker_plasma" / "py.typed").exists()
    assert [line.strip() for line in outcome.err.splitlines()[-3:]] == [
        "cd studio-worker-plasma && python -m pip install --editable '.[test]'",
        "python -m pytest",
        "studio-worker plugins check studio-worker-plasma",
    ]


def test_the_command_tells_all_of_it_as_json(cli: Call, tmp_path: Path) -> None:
    folder = tmp_path / "a folder"
    found = json.loads(cli("plugins", "new", "plasma", "--folder", str(folder), "--json").out)
    assert (found["distribution"], found["kind"], found["folder"]) == ("studio-worker-plasma", "image", str(folder))
    assert sorted(found["files"]) == sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )
    assert found["next"][0].startswith(f"cd '{folder}' && ")


def test_an_empty_folder_is_taken_and_one_that_holds_something_is_not(cli: Call, tmp_path: Path) -> None:
    assert cli("plugins", "new", "plasma", "--folder", str(tmp_path / "new")).status == 0
    mine = tmp_path / "mine"
    mine.mkdir()
    assert cli("plugins", "new", "plasma", "--folder", str(mine)).status == 0
    (mine / "README.md").write_text("mine")
    again = cli("plugins", "new", "plasma", "--folder", str(mine))
    assert (again.status, (mine / "README.md").read_text()) == (1, "mine")
    assert "not empty" in again.err


def test_a_place_that_cannot_be_written_to_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ProjectNotMade, match="cannot be written"):
        Project("plasma", TaskKind.IMAGE, tmp_path / "file" / "below").write()


@pytest.mark.parametrize(
    "name", ["", "-x", "3d", "a b", "a/b", "../x", "föx", "a;b", "{{ x }}", "x" * (MAX_NAME + 1), "studio-worker-"]
)
def test_what_is_no_name_is_refused_with_the_rule(name: str) -> None:
    with pytest.raises(click.BadParameter, match="is no name for a package"):
        read_new_name(name)


@pytest.mark.parametrize("name", ["synthetic", "Synthetic", "studio-worker", "studio-worker-synthetic"])
def test_a_name_of_the_workers_own_is_refused(name: str) -> None:
    with pytest.raises(click.BadParameter, match="belongs to the worker"):
        read_new_name(name)


@pytest.mark.parametrize("name", ["llama", "studio-worker-whisper", "llama-cpp"])
def test_a_name_that_the_project_publishes_is_refused(name: str) -> None:
    with pytest.raises(click.BadParameter, match="publishes itself"):
        read_new_name(name)


def test_a_name_that_is_installed_is_refused(program: Call, installed: Call, tmp_path: Path) -> None:
    environ = installed("studio-worker-fox", source="", entry_points="[studio_worker]\nfox = studio_worker_fox\n")
    outcome = program("plugins", "new", "fox", "--folder", str(tmp_path / "fox"), environ=environ)
    assert outcome.status == 2
    assert "'fox' is installed here already (studio-worker-fox 1.2.3)" in outcome.err
    assert not (tmp_path / "fox").exists()
