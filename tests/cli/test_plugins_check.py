"""`studio-worker plugins check`: the rules on a package, as a table, as JSON, and by its exit status."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from studio_worker.cli.plugins_check import chosen
from studio_worker.engines.entry_points import PluginRef
from studio_worker.testing import RULES

from .foxes import POINT

Call = Callable[..., Any]

ENGINE = """
from studio_worker import Engine, EngineCapabilities, LlmResult, TaskKind, hookimpl

class Fox(Engine):
    name = "fox"
    def capabilities(self):
        return EngineCapabilities({TaskKind.LLM: ["fox:*"]})
    def run(self, job):
        %s
        message = {"role": "assistant", "content": "a fox"}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
        return LlmResult({"object": "chat.completion", "model": job.model, "choices": choices, "usage": usage})

@hookimpl
def studio_worker_engines(config):
    return [Fox()]
"""
SAMPLE = '{"model": "fox-1", "task": {"kind": "llm", "messages": [{"role": "user", "content": "hello"}]}}\n'


@pytest.fixture
def fox(installed: Call, tmp_path: Path) -> Callable[[str], tuple[dict[str, str], str]]:
    """Installs the package; gives the environment that sees it, and a file of samples for it."""

    def install(body: str = "pass") -> tuple[dict[str, str], str]:
        samples = tmp_path / "samples.jsonl"
        samples.write_text(SAMPLE)
        return installed("studio-worker-fox", source=ENGINE % body, entry_points=POINT), str(samples)

    return install


def test_a_good_engine_passes_with_a_line_a_rule(fox: Call, program: Call) -> None:
    environ, samples = fox()
    outcome = program("plugins", "check", "studio-worker-fox", "--samples", samples, environ=environ)
    assert outcome.status == 0, outcome.err
    head, *lines = outcome.out.splitlines()
    assert head.split() == ["ENGINE", "RULE", "OUTCOME", "SECS", "MESSAGE"]
    assert [line.split()[1] for line in lines] == [rule.id for rule in RULES]
    assert outcome.err.strip() == "studio-worker-fox 1.2.3: passed"


def test_a_rule_that_fails_is_told_with_its_sentence_and_exit_status_1(fox: Call, program: Call) -> None:
    environ, samples = fox("job.meta['x'] = {1}")
    outcome = program("plugins", "check", "fox", "--samples", samples, "--json", environ=environ)
    assert outcome.status == 1
    (raw,) = json.loads(outcome.out)
    assert (raw["distribution"], raw["version"]) == ("studio-worker-fox", "1.2.3")
    (engine,) = raw["engines"]
    assert [rule["rule"] for rule in engine["rules"] if rule["outcome"] == "failed"] == ["meta-is-json"]


def test_an_engine_without_samples_has_not_passed_and_hears_what_to_do(fox: Call, program: Call) -> None:
    environ, _ = fox()
    outcome = program("plugins", "check", "studio-worker-fox", environ=environ)
    assert outcome.status == 1
    assert "nothing is shown of fox: there are no samples of llm: ship conformance.jsonl" in outcome.err


@pytest.mark.parametrize("name", ["Studio_Worker.Fox", "studio--worker-fox", "Red_fox", "red.fox"])
def test_a_plugin_is_found_by_any_spelling_of_its_package_or_its_own_name(name: str) -> None:
    ref = PluginRef("red_Fox", "studio_worker_fox", "Studio.worker_Fox", "1.0")
    other = PluginRef("hare", "hare", "studio-worker-hare", "1.0")
    assert chosen([name], [other, ref]) == [ref]


def test_an_unknown_package_is_a_usage_error_that_names_the_installed_ones(cli: Call) -> None:
    outcome = cli("plugins", "check", "unicorn")
    assert outcome.status == 2
    assert "no plugin 'unicorn' is installed; there are: " in outcome.err
    assert "studio-worker" in outcome.err


def test_a_file_of_samples_that_holds_none_is_a_usage_error(cli: Call, tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text('{"model": "m"}\n')
    outcome = cli("plugins", "check", "studio-worker", "--samples", str(path))
    assert outcome.status == 2
    assert "bad.jsonl, line 1: task: " in outcome.err


def test_a_package_of_hooks_alone_has_nothing_to_check(installed: Call, program: Call) -> None:
    source = "from studio_worker import hookimpl\n@hookimpl\ndef studio_worker_job_finished(job, outcome): pass\n"
    environ = installed("studio-worker-fox", source=source, entry_points=POINT)
    outcome = program("plugins", "check", "fox", environ=environ)
    assert (outcome.status, outcome.out) == (0, "")
    assert "brings no engine, so that there is nothing to check" in outcome.err


def test_ctrl_c_ends_a_check_and_what_it_has_started(fox: Call, home: Path, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    environ, samples = fox(f"open({str(gate)!r}, 'w').write('here'); __import__('time').sleep(60)")
    child = subprocess.Popen(
        [sys.executable, "-m", "studio_worker", "plugins", "check", "fox", "--samples", samples],
        env=os.environ | environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    # Our end opens once the engine is at work.
    assert gate.read_text() == "here"
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert (child.returncode, out) == (130, "")
    assert "Traceback" not in err
    assert re.search(r"^the check was stopped at fox: [a-z-]+; [0-9]+ rules? w\w+ tried", err), err
