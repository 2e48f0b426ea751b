"""`plugins check --certificate`: checked by the kit, written where the worker looks, and believed there."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from studio_worker.cli.plugins_certificate import KEEP, Certificates
from studio_worker.engines.entry_points import PluginRef
from studio_worker.testing import EngineReport, Outcome, Report, RuleReport
from studio_worker.testing.certifying import certify, content_to_certify, keep_certificate

from .foxes import POINT

Call = Callable[..., Any]

FOX = '''
"""An engine of a third party."""

import hashlib

from studio_worker import Engine, EngineCapabilities, LlmResult, TaskKind, hookimpl


class Fox(Engine):
    name = "fox"
    deterministic = True

    def capabilities(self):
        return EngineCapabilities({TaskKind.LLM: ["fox-1"]})

    def run(self, job):
        job.check_cancelled()
        text = hashlib.sha256(repr((job.seed, job.task.messages)).encode()).hexdigest()
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        return LlmResult({"object": "chat.completion", "model": job.model, "choices": [choice], "usage": usage})


@hookimpl
def studio_worker_engines(config):
    return [Fox()]
'''
TASK = {"kind": "llm", "messages": [{"role": "user", "content": "hello"}], "maxTokens": 16}
SAMPLE = {"model": "fox-1", "task": TASK, "modelSource": {"engine": "fox", "files": []}}
CLAIM = {"jobId": "job-1", "gameId": "", "assetName": "", "vramGbEstimate": 0, **SAMPLE}
NAME = "studio-worker-fox-1.2.3.json"


@pytest.fixture
def fox(installed: Call, tmp_path: Path) -> dict[str, str]:
    """An environment with the package, its files listed, and a worker that asks for certificates."""
    environ = installed("studio-worker-fox", source=FOX, entry_points=POINT)
    info = tmp_path / "site" / "studio_worker_fox-1.2.3.dist-info"
    (info / "RECORD").write_text(f"studio_worker_fox.py,,\n{info.name}/METADATA,,\n{info.name}/entry_points.txt,,\n")
    (tmp_path / "samples.jsonl").write_text(json.dumps(SAMPLE) + "\n")
    (tmp_path / "claim.json").write_text(json.dumps(CLAIM))
    assert isinstance(environ, dict)
    return environ | {
        "STUDIO_WORKER_REQUIRE_CERTIFIED_ENGINES": "true",
        "STUDIO_WORKER_STATE_DIR": str(tmp_path / "state"),
    }


@pytest.fixture
def check(program: Call, fox: dict[str, str], tmp_path: Path) -> Call:
    """Runs `plugins check` on the package."""

    def call(*args: str) -> Any:
        samples = ("--samples", str(tmp_path / "samples.jsonl"))
        return program("plugins", "check", "studio-worker-fox", *samples, *args, environ=fox)

    return call


@pytest.fixture
def certified(fox: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A certificate of the package without the minute that the kit takes."""
    monkeypatch.syspath_prepend(tmp_path / "site")
    rules = (RuleReport("every-kind-runs", Outcome.PASSED, "it ran", 1.0),)
    report = Report(
        distribution="studio-worker-fox",
        version="1.2.3",
        kit_version="1",
        api_version=1,
        engines=(EngineReport("fox", rules),),
    )
    return keep_certificate(
        certify([report], content_to_certify("studio-worker-fox")), tmp_path / "state" / "certificates"
    )


@pytest.fixture
def explain(program: Call, fox: dict[str, str], tmp_path: Path) -> Call:
    """What would become of a job for the engine."""

    def call() -> Any:
        return json.loads(program("explain", "--claim", str(tmp_path / "claim.json"), "--json", environ=fox).out)

    return call


def test_the_command_that_a_refusal_names_has_the_engine_used(check: Call, explain: Call, tmp_path: Path) -> None:
    refused = explain()
    assert refused["verdict"] == "refused"
    assert "studio-worker plugins check studio-worker-fox --certificate" in refused["reason"]
    outcome = check("--certificate")
    assert outcome.status == 0, outcome.out + outcome.err
    path = tmp_path / "state" / "certificates" / NAME
    assert f"studio-worker-fox 1.2.3: certificate written to {path}" in outcome.err
    assert explain()["verdict"] == "runs"


def test_generate_runs_certified_engines_alone(program: Call, fox: dict[str, str], certified: Path) -> None:
    generate = ("generate", "llm", "--model", "fox-1", "--prompt", "hello")
    assert program(*generate, environ=fox).status == 0
    certified.unlink()
    refused = program(*generate, environ=fox)
    assert refused.status == 1
    assert "engine 'fox' (studio-worker-fox 1.2.3) is unavailable because it has no certificate" in refused.err


def test_an_edited_package_is_refused_by_explain(explain: Call, certified: Path, tmp_path: Path) -> None:
    with (tmp_path / "site" / "studio_worker_fox.py").open("a") as module:
        module.write("# edited\n")
    again = explain()
    assert again["verdict"] == "refused"
    assert "its certificate is stale" in again["reason"]


def test_a_failed_check_is_certified_as_failed(program: Call, check: Call, fox: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "samples.jsonl").write_text("")
    outcome = check("--certificate", str(tmp_path / "out.json"))
    assert outcome.status == 1
    written = json.loads((tmp_path / "out.json").read_text())
    assert {rule["outcome"] for engine in written["engines"] for rule in engine["rules"]} >= {"skipped"}
    folder = tmp_path / "state" / "certificates"
    folder.mkdir(parents=True)
    os.replace(tmp_path / "out.json", folder / "from-elsewhere.json")
    found = json.loads(program("engines", "info", "fox", "--json", environ=fox).out)
    assert (found["status"], found["certificate"]["status"]) == ("unavailable", "failed")


def test_an_engine_in_an_environment_of_its_own_is_checked_certified_and_then_used(
    program: Call, environments: Any, home: Path, tmp_path: Path
) -> None:
    den = environments.serving("hare", "job.check_cancelled(); return say(job, 'hello')")
    (tmp_path / "samples.jsonl").write_text(json.dumps({"model": "m", "task": TASK}) + "\n")
    config = home / ".config" / "minis-studio-worker" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text(f"require_certified_engines = true\n[engine_environments]\nden = {json.dumps(str(den))}\n")
    refused = json.loads(program("engines", "info", "hare", "--json").out)
    assert refused["status"] == "unavailable"
    assert refused["remedy"] == "studio-worker plugins check plugin-hare --certificate"
    command = refused["remedy"].split()[1:]
    outcome = program(*command[:-1], "--samples", str(tmp_path / "samples.jsonl"), command[-1])
    assert outcome.status == 0, outcome.out + outcome.err
    assert "plugin-hare 1.0 (environment den): passed" in outcome.err
    assert "plugin-hare-1.0-den.json" in outcome.err
    found = json.loads(program("engines", "info", "hare", "--json").out)
    assert (found["status"], found["certificate"]["status"]) == ("available", "valid")


def test_an_environment_that_cannot_be_used_is_left_out_with_the_reason(
    program: Call, home: Path, tmp_path: Path
) -> None:
    config = home / ".config" / "minis-studio-worker" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text(f"[engine_environments]\nden = {json.dumps(str(tmp_path / 'gone'))}\n")
    outcome = program("plugins", "check", "unicorn")
    assert outcome.status == 2
    assert "environment den is left out: there is no " in outcome.err


def test_a_file_that_is_no_json_is_refused_before_anything_is_checked(check: Call) -> None:
    for name in ("studio-worker-onnx", "."):
        outcome = check("--certificate", name)
        assert outcome.status == 2
        assert f"{name} does not end in .json; DIST comes first" in outcome.err


def test_one_file_is_not_for_all_packages(program: Call, fox: dict[str, str]) -> None:
    outcome = program("plugins", "check", "--certificate", "all.json", environ=fox)
    assert outcome.status == 2
    assert "one FILE is for one package" in outcome.err


def test_the_worker_itself_gets_no_certificate_and_is_told_so(program: Call, tmp_path: Path) -> None:
    outcome = program("plugins", "check", "studio-worker", "--certificate", str(tmp_path / "mine.json"))
    assert outcome.status == 2
    assert "part of the worker, which needs no certificate: name the package of a plugin" in outcome.err
    assert list(tmp_path.glob("*.json")) == []


def test_where_no_certificate_is_written_it_is_said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    mine = PluginRef("synthetic", "studio_worker.engines.synthetic", "studio-worker", "0.1.0")
    report = Report(distribution="studio-worker", version="0.1.0", kit_version="2", api_version=1, engines=())
    Certificates([mine], KEEP).write([report], tmp_path)
    assert "studio-worker: no certificate is written, since the worker needs none for itself" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_editable_package_is_refused_before_it_is_checked(check: Call, tmp_path: Path) -> None:
    info = tmp_path / "site" / "studio_worker_fox-1.2.3.dist-info"
    (info / "direct_url.json").write_text('{"url": "file:///home/fox", "dir_info": {"editable": true}}')
    outcome = check("--certificate")
    assert outcome.status == 1
    assert "studio-worker-fox cannot be certified" in outcome.err
    assert "install a wheel of it" in outcome.err
    assert not outcome.out
