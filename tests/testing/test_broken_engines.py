"""For each rule an engine that breaks it, and no other; and engines that keep them all."""

from __future__ import annotations

import re
from collections import Counter
from importlib import import_module
from pathlib import Path

import pytest
from broken.good import MAGIC, Streaming

from studio_worker import ImageTask, LlmTask, SttTask
from studio_worker.engines.certificates import ESSENTIAL
from studio_worker.testing import RULES, Limits, Outcome, Report, Sample, check_engine
from studio_worker.testing.claims import hum

LIMITS = Limits(cancel_secs=1.0, block_secs=0.15)

SENTENCES = {
    "describes": "the describe step gives no engine: RuntimeError: no GPU found",
    "valid-description": "the worker does not take the engine: engine 'good' has isolation 'container'; 'process', "
    "'thread' or 'loop' is needed",
    "describes-alike": r"models is .* at first and .* when asked again; capabilities\(\), availability\(\) and the "
    "attributes must say the same each time",
    "light-import": r"importing broken\.light_import:make imports numpy, onnxruntime; import heavy libraries inside "
    r"load\(\) or run\(\)",
    "light-description": r"capabilities\(\) or availability\(\) imports numpy, onnxruntime; look with "
    r"importlib\.util\.find_spec instead",
    "says-why-not": r"the engine is unavailable where its libraries are not installed \(numpy is missing\) and names "
    "no remedy; say in .* what to install",
    "every-kind-runs": r"the sample of llm \(small\) does not run: engine 'good' failed: KeyError: 'prompt'",
    "run-fits-isolation": "isolation is 'loop' and run is a plain method: write `async def run`, or take 'thread'",
    "result-fits-kind": r"run\(\) returned a str for a job of kind llm; return LlmResult",
    "result-can-be-used": "the result of the sample of image would not be delivered: .*black",
    "leaves-job-alone": r"the engine changed input-image, a file of the job's: .*write into job\.work_dir alone",
    "leaves-surroundings-alone": "after a job the working directory of its process is not what it was; put it back",
    "progress-is-sane": r"job\.progress\(3, 2, stage='sample'\): a step is from 0 to its total",
    "meta-is-json": r"job\.meta is not JSON .* put texts, numbers, lists and objects",
    "estimates-bytes": r"estimate\(\) says ram_bytes=4; whole bytes are needed, so a gigabyte is 1_000_000_000",
    "stream-adds-up": r"the text of stream\(\)'s pieces joins to .* and its result says .* the pieces must join",
    "deterministic": "deterministic is True, and the sample of llm gave another result when it was run again with the "
    "same seed: draw all randomness from job.seed",
    "runs-side-by-side": "concurrency is 2, and of 2 jobs at once one fails: .*the job changed under my hands; share "
    "nothing between runs",
    "runs-as-declared": "with isolation 'thread' the sample fails: .*this is not my process",
    "any-text": "a text of right-to-left script fails a job of llm as if another try could help: .*UnicodeEncodeError",
    "names-its-format": "asked for webp, it made a png file and calls it webp; name the result by what it is",
    "refuses-bad-input": "an empty file as sound fails a job of audio_stt as if another try could help: .*BadInput",
    "refuses-bad-model": r"with small\.bin replaced by random bytes, the job fails as if another try could help: .*"
    "retryable=False",
    "heeds-cancel": r"a cancelled job went on for more than 1 s; .*call job\.check_cancelled\(\) between steps",
    "lets-cancelled-through": r"check_cancelled\(\) raised Cancelled, and run\(\) went on to a result; .*nor a bare",
    "leaves-loop-free": r"run\(\) kept the event loop from everybody else for 0\.\d s; await what takes long",
    "is-quiet": r"one job printed 3\d\d,\d{3} bytes, at most 262,144 are in order; .*use job\.log",
    "survives-ten-runs": r"of 10 runs of the same job in a row, number \d+ fails: .*the pool is exhausted",
    "keeps-its-size": r"its memory grew by \d+ MiB over 8 runs of the same job; let go",
    "leaves-no-threads": r"8 threads more after 8 runs of the same job \(uploader\); join",
    "leaves-no-files-open": r"8 open files more after 8 runs of the same job \(/dev/null\); open them in a `with`",
    "leaves-no-processes": r"8 processes more after 8 runs of the same job \(python.*; wait for what a job starts",
    "leaves-no-litter": r"8 temporary files more after 8 runs of the same job \(.*\.wav.*write into job\.work_dir",
    "frees-its-model": r"its memory grew by \d+ MiB over 4 loads and unloads of the same model; free in unload\(\)",
}
"""What each rule says of the engine that breaks it."""

IN_PROCESS = frozenset(
    {
        "every-kind-runs",
        "result-fits-kind",
        "result-can-be-used",
        "leaves-job-alone",
        "progress-is-sane",
        "meta-is-json",
        "estimates-bytes",
        "stream-adds-up",
        "deterministic",
        "runs-side-by-side",
        "any-text",
        "names-its-format",
        "refuses-bad-input",
        "refuses-bad-model",
        "lets-cancelled-through",
        "survives-ten-runs",
    }
)
"""Rules whose breaker is given as an object: it harms nobody here, and starts no process."""


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    """A job of each kind that the engines here serve, with a model that they load."""
    from PIL import Image

    model, picture, sound = tmp_path / "small.bin", tmp_path / "picture.png", tmp_path / "hum.wav"
    model.write_bytes(MAGIC + bytes(1_000))
    Image.new("RGB", (8, 8), (200, 40, 90)).save(picture)
    sound.write_bytes(hum())
    files = {"model": [model]}
    said = [{"role": "user", "content": "hello there"}]
    painted = ImageTask(prompt="a cup", width=64, height=48, ext="png")
    return [
        Sample(task=LlmTask(messages=said), model="small", files=files),
        Sample(task=painted, model="small", files=files, inputs={"image": picture}),
        Sample(task=SttTask(input_url="https://x.example/a"), model="small", files=files, inputs={"audio": sound}),
    ]


def failures(report: Report) -> dict[str, str]:
    return {rule.rule: rule.message for _, rule in report.failures}


def test_every_rule_has_an_engine_that_breaks_it():
    assert set(SENTENCES) == {rule.id for rule in RULES}


@pytest.mark.parametrize("rule", [rule.id for rule in RULES])
async def test_an_engine_that_breaks_one_rule_fails_that_one_with_a_sentence_that_helps(
    rule: str, samples: list[Sample]
) -> None:
    module = f"broken.{rule.replace('-', '_')}"
    engine = import_module(module).make() if rule in IN_PROCESS else f"{module}:make"
    report = await check_engine(engine, samples, limits=LIMITS)
    found = failures(report)
    assert list(found) == [rule], found
    assert re.search(SENTENCES[rule], found[rule]), found[rule]
    assert not report.passed


@pytest.mark.parametrize("way", ["make_everything", "make_on_loop"])
async def test_an_engine_that_keeps_every_rule_passes(way: str, samples: list[Sample]) -> None:
    report = await check_engine(f"broken.good:{way}", samples)
    assert failures(report) == {}
    assert report.passed


async def test_an_engine_that_is_given_as_an_object_passes_too(samples: list[Sample]) -> None:
    report = await check_engine(Streaming(), samples)
    assert failures(report) == {}
    assert report.passed


async def test_each_rule_tells_of_its_beginning_and_its_end(samples: list[Sample]) -> None:
    told: list[tuple[str, str, bool]] = []
    report = await check_engine(
        "broken.every_kind_runs:make",
        samples,
        on_rule=lambda engine, rule, outcome: told.append((engine, rule.id, outcome is None)),
    )
    assert told == [("good", rule.id, is_begin) for rule in RULES for is_begin in (True, False)]
    assert [rule.rule for rule in report.engines[0].rules] == [rule.id for rule in RULES]


async def test_an_engine_without_samples_has_not_passed_and_hears_how_to_give_some() -> None:
    report = await check_engine("broken.good:make", [])
    assert failures(report) == {}
    assert not report.passed
    ((_, unproven),) = report.unproven
    assert unproven.outcome is Outcome.SKIPPED
    assert "there are no samples of llm: ship conformance.jsonl in the package" in unproven.message


async def test_an_engine_whose_model_is_not_here_has_not_passed_and_hears_which_file_is_missing(
    samples: list[Sample], tmp_path: Path
) -> None:
    (tmp_path / "small.bin").unlink()
    report = await check_engine("broken.good:make", samples)
    assert Counter(rule.outcome for rule in report.engines[0].rules)[Outcome.FAILED] == 0
    assert not report.passed
    assert "small.bin" in report.unproven[0][1].message


async def test_a_kind_without_a_sample_fails_an_engine_that_advertises_it(samples: list[Sample]) -> None:
    report = await check_engine("broken.good:make_everything", samples[:1])
    assert list(failures(report)) == [ESSENTIAL]
    assert "advertises image and there is no sample of it" in failures(report)[ESSENTIAL]


def test_every_broken_engine_says_what_is_wrong_with_it():
    for rule in RULES:
        assert import_module(f"broken.{rule.id.replace('-', '_')}").__doc__
