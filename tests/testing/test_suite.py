"""The kit under pytest: one test a rule, sentences for failures, fixtures, and a plugin that costs nothing."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from studio_worker.testing import Limits
from studio_worker.testing.conformance.check import Examination
from studio_worker.testing.conformance.subject import Subject
from studio_worker.testing.conformance.suite import RunningExamination

HEAD = """
import pytest
from studio_worker import LlmTask
from studio_worker.testing import EngineConformance, Sample

LLM = Sample(task=LlmTask(messages=[{"role": "user", "content": "hello"}]), model="small")
"""


def ran(folder: Path, source: str, *args: str) -> subprocess.CompletedProcess[str]:
    """pytest on a file of `source`, as an author's own project runs it."""
    (folder / "test_mine.py").write_text(HEAD + source)
    here = Path(__file__).parent
    (folder / "pytest.ini").write_text(f"[pytest]\nasyncio_mode = auto\npythonpath = {here}\n")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rA", *args, "test_mine.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


def test_each_rule_is_a_test_and_a_failure_is_its_sentence_alone(tmp_path: Path) -> None:
    source = """
class TestMine(EngineConformance):
    engine = "broken.progress_is_sane:make"
    samples = [LLM]
"""
    done = ran(tmp_path, source, "-k", "describes or every-kind or run-fits or side")
    assert "PASSED test_mine.py::TestMine::test_rule[describes]" in done.stdout
    assert "FAILED test_mine.py::TestMine::test_rule[every-kind-runs]" in done.stdout
    assert (
        "every-kind-runs: good: the sample of llm (small) does not run: the model has no file of the role"
        in done.stdout
    )
    assert "Traceback" not in done.stdout
    assert "conformance/check.py" not in done.stdout


@pytest.mark.parametrize(
    "samples",
    [
        "samples = [LLM]",
        "samples = 'mine.jsonl'",
        "@pytest.fixture(scope='class')\n    def samples(self): return [LLM]",
    ],
)
def test_samples_are_a_list_a_file_or_a_fixture(tmp_path: Path, samples: str) -> None:
    line = '{"model": "small", "task": {"kind": "llm", "messages": [{"role": "user", "content": "hello"}]}}'
    (tmp_path / "mine.jsonl").write_text(line)
    source = f"""
from studio_worker import Engine, EngineCapabilities, TaskKind
from broken.good import Good

class Mine(Good):
    load = Engine.load
    def run(self, job): return self.answer(job)

class TestMine(EngineConformance):
    engine = Mine
    {samples}
"""
    done = ran(tmp_path, source, "-k", "every-kind")
    assert "PASSED test_mine.py::TestMine::test_rule[every-kind-runs]" in done.stdout, done.stdout


@pytest.mark.parametrize(
    ("samples", "sentence"),
    [
        (
            "samples = [{'model': 'small'}]",
            "samples holds a value of type dict; a Sample is needed: Sample(task=…",
        ),
        ("samples = [LLM.task]", "samples holds a value of type LlmTask; a Sample is needed"),
        ("samples = LLM", "samples is one Sample; a list of them is needed: [Sample(…)]"),
        ("@pytest.fixture(scope='class')\n    def samples(self): return LLM", "samples is one Sample"),
    ],
    ids=["dict", "task", "one", "fixture"],
)
def test_what_is_no_list_of_samples_is_named_with_what_is_needed(tmp_path: Path, samples: str, sentence: str) -> None:
    source = f"""
class TestMine(EngineConformance):
    engine = "broken.good:make"
    {samples}
"""
    done = ran(tmp_path, source, "-k", "every-kind")
    assert f"TestMine: {sentence}" in done.stdout, done.stdout
    assert "Traceback" not in done.stdout
    assert "AttributeError" not in done.stdout


def test_an_engine_whose_jobs_could_not_be_run_has_not_passed(tmp_path: Path) -> None:
    source = """
class TestMine(EngineConformance):
    engine = "broken.good:make"
    samples = []
"""
    done = ran(tmp_path, source, "-k", "every-kind or leaves-job")
    assert "FAILED test_mine.py::TestMine::test_rule[every-kind-runs]" in done.stdout
    assert "every-kind-runs: good: there are no samples of llm: ship conformance.jsonl" in done.stdout
    assert "1 failed, 1 skipped" in done.stdout


def test_an_examination_that_cannot_begin_leaves_no_loop_open(monkeypatch: pytest.MonkeyPatch) -> None:
    loops = []

    async def fails(_examination: Examination) -> None:
        loops.append(asyncio.get_running_loop())
        raise OSError("no room")

    monkeypatch.setattr(Examination, "__aenter__", fails)
    with pytest.raises(OSError, match="no room"):
        RunningExamination(Subject.of_engine("broken.good:make"), [], Limits()).__enter__()
    assert [loop.is_closed() for loop in loops] == [True]


def test_a_plugin_that_is_not_installed_is_named_with_those_that_are(tmp_path: Path) -> None:
    done = ran(tmp_path, "class TestMine(EngineConformance):\n    plugin = 'unicorn'\n", "-k", "describes]")
    assert "no plugin 'unicorn' is installed; there are: " in done.stdout
    assert "synthetic" in done.stdout


def test_a_class_that_names_no_engine_says_what_it_needs(tmp_path: Path) -> None:
    done = ran(tmp_path, "class TestMine(EngineConformance):\n    pass\n", "-k", "describes]")
    assert "TestMine needs `plugin`, an entry point's name, or `engine`" in done.stdout


def test_the_fixtures_are_a_studio_that_runs_and_a_clock_that_stands(tmp_path: Path) -> None:
    source = """
async def test_it(studio, hand_clock):
    assert studio.url.startswith("http://127.0.0.1:")
    before = hand_clock.monotonic()
    await hand_clock.sleep(60)
    assert hand_clock.monotonic() == before + 60
"""
    assert "PASSED test_mine.py::test_it" in ran(tmp_path, source).stdout


def test_the_pytest_plugin_loads_nothing_of_the_worker() -> None:
    code = (
        "import pytest, sys; before = set(sys.modules); import studio_worker.testing.pytest_plugin; "
        "print(sorted({'aiohttp', 'pydantic', 'PIL', 'loguru'} & (set(sys.modules) - before)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
