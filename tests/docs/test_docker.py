"""The image of the page on Docker, as far as it can be judged without Docker."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys

import pytest


@pytest.fixture
def lines(root) -> list[str]:
    """The instructions of the Dockerfile, each in one line."""
    text = (root / "docs" / "examples" / "docker" / "Dockerfile").read_text()
    return [line for line in re.sub(r"\s*\\\n\s*", " ", text).splitlines() if line and not line.startswith("#")]


def of(lines: list[str], word: str) -> list[str]:
    return [line.removeprefix(f"{word} ") for line in lines if line.startswith(f"{word} ")]


def copied(lines: list[str]) -> list[str]:
    return [source for line in of(lines, "COPY") if "--from" not in line for source in line.split()[:-1]]


def test_every_base_image_is_named_with_its_version(lines):
    for image in of(lines, "FROM"):
        assert re.search(r":\d+\.\d+", image.split()[0])


def test_it_runs_as_a_user_of_its_own_by_number(lines):
    [user] = of(lines, "USER")
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", user)
    assert lines.index(f"USER {user}") > max(at for at, line in enumerate(lines) if line.startswith("RUN "))


def test_what_it_copies_is_there_and_enough_to_build_the_package(lines, root, tmp_path):
    for source in copied(lines):
        target = tmp_path / "source" / source
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (root / source).is_dir() else shutil.copy)(root / source, target)
    build = "import hatchling.build; print(hatchling.build.build_wheel('.'))"
    done = subprocess.run(
        [sys.executable, "-c", build], cwd=tmp_path / "source", capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    for folder in re.findall(r" \./(plugins/\S+)", of(lines, "RUN")[0]):
        assert (tmp_path / "source" / folder / "pyproject.toml").is_file()


def test_its_commands_are_the_programs(lines, tmp_path):
    entry, command = (json.loads(of(lines, word)[0]) for word in ("ENTRYPOINT", "CMD"))
    health = json.loads(of(lines, "HEALTHCHECK")[0].partition("CMD ")[2])
    assert entry == health[:1] == ["studio-worker"]
    for arguments in ([*command, "--help"], [*health[1:], "--help"]):
        done = subprocess.run([sys.executable, "-m", "studio_worker", *arguments], capture_output=True, timeout=60)
        assert done.returncode == 0, done.stderr


def test_its_variables_put_state_and_models_into_the_volumes(lines, tmp_path):
    [variables] = of(lines, "ENV")
    environ = dict(pair.split("=", 1) for pair in variables.split() if not pair.startswith("PATH="))
    done = subprocess.run(
        [sys.executable, "-m", "studio_worker", "status", "--json"],
        env={name: value.replace("/state", f"{tmp_path}/state") for name, value in environ.items()},
        capture_output=True,
        text=True,
        timeout=60,
    )
    told = json.loads(done.stdout)
    volumes = json.loads(of(lines, "VOLUME")[0])
    assert done.returncode == 1, "no worker runs: unhealthy"
    assert told["modelsRoot"] == "/models" in volumes
    assert told["stateDir"].startswith(f"{tmp_path}/state")
    assert told["configPath"].startswith(f"{tmp_path}/state")
    assert "/state" in volumes
