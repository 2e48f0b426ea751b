"""Engines that hand over what nobody has thought of: the kit ends with a report, whatever it meets."""

from __future__ import annotations

from pathlib import Path

import pytest
from broken.good import MAGIC, Streaming, completion

from studio_worker import AudioChunk, AudioResult, ImageTask, LlmResult, LlmTask, TaskKind, TextDelta, TtsTask
from studio_worker.testing import RULES, Outcome, Report, Sample, check_engine
from studio_worker.testing.conformance.check import Examination
from studio_worker.testing.conformance.rule import Rule
from studio_worker.testing.conformance.subject import Subject

ASKED = LlmTask(messages=[{"role": "user", "content": "hello there"}])


@pytest.fixture
def files(tmp_path: Path) -> dict[str, list[Path]]:
    """A model that the engines here load."""
    (tmp_path / "small.bin").write_bytes(MAGIC + bytes(1_000))
    return {"model": [tmp_path / "small.bin"]}


@pytest.fixture
def asked(files: dict[str, list[Path]]) -> Sample:
    return Sample(task=ASKED, model="small", files=files)


class Empty(Streaming):
    """Its completions have nothing in them."""

    def answer(self, job):
        return LlmResult({})


class EmptyAtTheEnd(Streaming):
    """Its streams alone end in a completion that has nothing in it."""

    def stream(self, job):
        yield LlmResult({})


class StreamsTexts(Streaming):
    """Its pieces are plain texts."""

    def stream(self, job):
        yield from ("do", "ne")
        yield self.run(job)


class GoesOn(Streaming):
    """Its result comes, and then another."""

    def stream(self, job):
        yield TextDelta("done")
        yield self.run(job)
        yield self.run(job)


class CountsInNan(Streaming):
    """Its progress is no number."""

    def run(self, job):
        job.progress(float("nan"), 2)
        return completion(job, "done")


class Silent(Streaming):
    """Its sound is none."""

    kinds = (TaskKind.AUDIO_TTS,)

    def make(self, job):
        return AudioResult(b"RIFF....WAVE", "wav")

    def stream(self, job):
        yield AudioChunk(pcm=b"\0\0", rate=24_000)
        yield self.run(job)


class Painting(Streaming):
    kinds = (TaskKind.IMAGE,)


def outcomes(report: Report) -> dict[str, tuple[Outcome, str]]:
    assert [rule.rule for rule in report.engines[0].rules] == [rule.id for rule in RULES]
    return {rule.rule: (rule.outcome, rule.message) for rule in report.engines[0].rules}


async def test_a_result_that_would_not_be_delivered_is_told_once_and_its_stream_not_looked_into(asked: Sample) -> None:
    found = outcomes(await check_engine(Empty(), [asked]))
    assert found["result-can-be-used"][0] is Outcome.FAILED
    assert found["stream-adds-up"] == (Outcome.SKIPPED, "no sample comes to a result, see every-kind-runs")


async def test_a_stream_that_ends_in_what_would_not_be_delivered_breaks_its_rule(asked: Sample) -> None:
    outcome, message = outcomes(await check_engine(EmptyAtTheEnd(), [asked]))["stream-adds-up"]
    assert outcome is Outcome.FAILED
    assert message.startswith("the result of stream() would not be delivered, that of run() is: ")


@pytest.mark.parametrize(
    ("engine", "sentence"),
    [
        (StreamsTexts, "stream() yields a str; its pieces are TextDelta or AudioChunk, and the LlmResult is last"),
        (GoesOn, "stream() yields a LlmResult and goes on; yield it once, as the last"),
    ],
)
async def test_a_stream_of_what_are_no_pieces_breaks_its_rule(asked: Sample, engine: type, sentence: str) -> None:
    (rule,) = [each for each in RULES if each.id == "stream-adds-up"]
    async with Examination(Subject.of_engine(engine()), [asked]) as examination:
        report = await examination.try_rule(examination.trials[0], rule)
    assert (report.outcome, report.message) == (Outcome.FAILED, sentence)


async def test_sound_that_cannot_be_read_does_not_end_the_kit(files: dict[str, list[Path]]) -> None:
    sample = Sample(task=TtsTask(text="a word", ext="wav"), model="small", files=files)
    assert outcomes(await check_engine(Silent(), [sample]))["result-can-be-used"][0] is Outcome.FAILED


async def test_progress_that_is_no_number_breaks_its_rule(asked: Sample) -> None:
    outcome, message = outcomes(await check_engine(CountsInNan(), [asked]))["progress-is-sane"]
    assert (outcome, message) == (Outcome.FAILED, "job.progress(nan, 2, stage='run'): steps are whole numbers")


async def test_a_sample_whose_picture_cannot_be_read_does_not_run(files: dict[str, list[Path]], tmp_path: Path) -> None:
    (tmp_path / "picture.png").write_bytes(b"no picture")
    task = ImageTask(prompt="a cup", width=64, height=48, ext="png")
    sample = Sample(task=task, model="small", files=files, inputs={"image": tmp_path / "picture.png"})
    outcome, message = outcomes(await check_engine(Painting(), [sample]))["every-kind-runs"]
    assert outcome is Outcome.FAILED
    assert message.startswith("the sample of image (small) does not run: ")


async def test_what_a_rule_stumbles_over_is_a_failure_that_names_it(asked: Sample) -> None:
    async def stumbles(_trial: object) -> str:
        raise KeyError("choices")

    async with Examination(Subject.of_engine(Streaming()), [asked]) as examination:
        report = await examination.try_rule(examination.trials[0], Rule("stumbles", "Stumbles", stumbles))
    assert (report.outcome, report.message) == (
        Outcome.FAILED,
        "the rule could not be finished: KeyError: 'choices'",
    )
