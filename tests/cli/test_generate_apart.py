"""Engines in environments that the worker has made itself, used by commands whose state folder is one of their own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from studio_worker.config import Config
from studio_worker.engines.environments import FINISHED, list_environments
from tests.own_environments import OwnEnvironments

Call = Callable[..., Any]
OTHERS = "llama,onnx,piper,sdcpp,whisper"


@pytest.fixture
def owl(tmp_path: Path) -> dict[str, str]:
    """What a program needs to find an engine `owl`, in an environment that lies in the state folder alone."""
    state = tmp_path / "state"
    made = OwnEnvironments(state / "environments")
    (made.serving("owl") / FINISHED).touch()
    return {"STUDIO_WORKER_STATE_DIR": str(state), "STUDIO_WORKER_DISABLED_ENGINES": OTHERS}


def test_generate_runs_on_an_engine_in_an_environment_made_here(owl: dict[str, str], program: Call) -> None:
    done = program("generate", "llm", "--source-id", "owl", "--prompt", "who?", environ=owl)
    assert (done.status, done.out.strip()) == (0, "owl"), done.err


def test_engines_try_runs_on_an_engine_in_an_environment_made_here(
    owl: dict[str, str], program: Call, tmp_path: Path
) -> None:
    task = tmp_path / "task.json"
    task.write_text(
        json.dumps({"model": "owl:1", "task": {"kind": "llm", "messages": [{"role": "user", "content": "?"}]}})
    )
    done = program("engines", "try", "owl", "--task", str(task), environ=owl)
    assert (done.status, done.out.strip()) == (0, "owl"), done.err


def test_a_job_of_its_own_looks_where_the_operators_environments_and_certificates_are(tmp_path: Path) -> None:
    operator = Config(api_base_url=None, state_dir=tmp_path / "state")
    (operator.environments_path / "owl").mkdir(parents=True)
    (operator.environments_path / "owl" / FINISHED).touch()
    own = operator.beside(tmp_path / "private", api_base_url=None)
    assert own.state_path == tmp_path / "private"
    assert own.certificates_path == operator.certificates_path
    assert list(list_environments(own)) == ["owl"]
