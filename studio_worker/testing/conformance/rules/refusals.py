"""Rules about what an engine cannot do: it says so, in a way that nobody tries again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any, get_args

from studio_worker.errors import BadClaim, BadInput, EngineError, ResultRejected, UnsupportedTask
from studio_worker.testing.conformance.odd_inputs import NO_SOUNDS, TEXTS, odd_sounds, tiny_pictures, without_inputs
from studio_worker.testing.conformance.rule import BrokenRule, NotApplicable
from studio_worker.testing.conformance.samples import Sample
from studio_worker.testing.conformance.trial import Trial
from studio_worker.testing.conformance.workbench import Ran
from studio_worker.wire.kinds import TaskKind
from studio_worker.wire.results import media_type
from studio_worker.wire.tasks import TASK_TYPES

_GARBAGE_BYTES = 64 * 1024


async def takes_any_text(trial: Trial) -> str:
    """Whatever the text, there is a result or a BadInput."""
    refused = tried = 0
    for first in _one_a_kind(await trial.delivered_runs()):
        for name, text in TEXTS.items():
            sample = _with_text(trial, first.sample, text)
            if sample is None:
                continue
            tried += 1
            ran = await trial.bench.run(sample)
            refused += ran.error is not None
            _check_refusal(ran, f"a text of {name}")
            _check_result(ran, f"for a text of {name}")
    if not tried:
        raise NotApplicable("its jobs hold no text")
    return f"{tried} texts, {refused} of them refused"


async def names_its_format(trial: Trial) -> str:
    """Whatever format is asked for, the result is called what it is, or the job refused."""
    made, tried = [], 0
    for first in _one_a_kind(await trial.delivered_runs()):
        annotation = TASK_TYPES[first.sample.kind].model_fields.get("ext")
        for ext in get_args(annotation.annotation) if annotation is not None else ():
            tried += 1
            ran = await trial.bench.run(trial.variant(first.sample, ext=ext))
            _check_refusal(ran, f"ext {ext!r}")
            if ran.output is None:
                continue
            found = _check_result(ran, f"for ext {ext!r}")
            called = getattr(ran.output.result, "ext", found)
            if media_type(found) != media_type(called):
                raise BrokenRule(
                    f"asked for {ext}, it made a {found} file and calls it {called}; name the result by what it is, or "
                    "raise UnsupportedTask"
                )
            made.append(found)
    if not tried:
        raise NotApplicable("its results have no format to choose")
    return f"makes {', '.join(dict.fromkeys(made)) or 'none of the other formats'}"


async def refuses_bad_input(trial: Trial) -> str:
    """Inputs that are odd, or are not there, give a result or a BadInput, and the next job runs."""
    tried = 0
    for first in _one_a_kind(await trial.good_runs()):
        async for what, ran in _odd_runs(trial, first):
            tried += 1
            _check_refusal(ran, what)
            if what in NO_SOUNDS and ran.error is None:
                raise BrokenRule(f"{what} comes to a result: nobody hears that it was lost; raise BadInput for it")
        if not tried:
            continue
        again = await trial.bench.run(first.sample)
        if again.error is not None:
            raise BrokenRule(f"after bad inputs the sample of {first.sample.kind} does not run any more: {again.error}")
    if not tried:
        raise NotApplicable("its jobs have no inputs that could be bad")
    return f"{tried} odd inputs"


async def refuses_bad_model(trial: Trial) -> str:
    """Files that are no model fail for good: another try would fetch and fail again."""
    tried = refused = 0
    for first in _one_a_kind(await trial.good_runs()):
        for what, sample in _bad_models(first.sample, trial.folder):
            tried += 1
            ran = await trial.bench.run(sample)
            error = ran.error
            # A job need not use each of its model's files.
            refused += error is not None
            if error is None or isinstance(error, (BadInput, UnsupportedTask)):
                continue
            if not isinstance(error, EngineError) or error.retryable:
                raise BrokenRule(
                    f"{what}, the job fails as if another try could help: {error}; raise BadInput, or "
                    "EngineError(…, retryable=False)"
                )
    if not tried:
        raise NotApplicable("needs no model files")
    if not refused:
        raise BrokenRule(
            "its jobs come to a result whatever its model's files hold, and without them; look into them in load(), "
            "and raise EngineError(…, retryable=False) for what is no model"
        )
    return f"{tried} models that are none, {refused} of them refused"


def _one_a_kind(runs: list[Ran]) -> list[Ran]:
    return list({ran.sample.kind: ran for ran in reversed(runs)}.values())


def _check_refusal(ran: Ran, what: str) -> None:
    """A job may fail as BadInput or UnsupportedTask, and in no other way."""
    if ran.error is None or isinstance(ran.error, (BadInput, UnsupportedTask)):
        return
    raise BrokenRule(
        f"{what} fails a job of {ran.sample.kind} as if another try could help: {ran.error}; raise BadInput or "
        "UnsupportedTask, which are never retried"
    )


def _check_result(ran: Ran, what: str) -> str:
    """The result's format by its bytes; nothing for a job that was refused."""
    if ran.output is None:
        return ""
    try:
        return ran.inspect().ext
    except ResultRejected as problem:
        raise BrokenRule(
            f"the result {what} would not be delivered: {problem}; raise BadInput or UnsupportedTask instead"
        ) from None


def _with_text(trial: Trial, sample: Sample, text: str) -> Sample | None:
    """The sample with another text; None where its kind has none, or the contract does not let that one through."""
    fields: dict[TaskKind, dict[str, Any]] = {
        TaskKind.IMAGE: {"prompt": text},
        TaskKind.VIDEO: {"prompt": text},
        TaskKind.AUDIO_TTS: {"text": text},
        TaskKind.AUDIO_STT: {"prompt": text},
        TaskKind.LLM: {"messages": [{"role": "user", "content": text}]},
    }
    try:
        return trial.variant(sample, **fields[sample.kind])
    except BadClaim:
        return None


async def _odd_runs(trial: Trial, first: Ran) -> AsyncIterator[tuple[str, Ran]]:
    """Runs of a sample with inputs that are odd, each with what is odd about it."""
    sample = first.sample
    if sample.kind is TaskKind.AUDIO_TTS:
        for fields in ({"voice": "no such voice"}, {"language": "tlh"}):
            yield f"{fields}", await trial.bench.run(trial.variant(sample, **fields))
    if "audio" in first.inputs:
        for what, path in odd_sounds(first.inputs["audio"], trial.folder):
            yield what, await trial.bench.run(replace(sample, inputs={"audio": path}))
    if sample.kind in (TaskKind.IMAGE, TaskKind.VIDEO):
        if first.inputs:
            yield "a job without its inputs", await trial.bench.run(without_inputs(sample))
        for what, inputs in tiny_pictures(first.inputs, trial.folder):
            yield what, await trial.bench.run(replace(sample, inputs=inputs))


def _bad_models(sample: Sample, folder: Path) -> Iterator[tuple[str, Sample]]:
    """The sample with model files of which one is none, and without any."""
    if not sample.files:
        return
    noise = Random(1).randbytes(_GARBAGE_BYTES)  # noqa: S311 - any bytes will do
    for role, paths in sample.files.items():
        for number, path in enumerate(paths):
            with path.open("rb") as file:
                head = file.read(min(_GARBAGE_BYTES, path.stat().st_size // 2))
            for what, data in (("random bytes", noise), ("its beginning alone", head)):
                own = folder / f"bad-model-{role}-{number}-{what.replace(' ', '-')}"
                own.mkdir(exist_ok=True)
                files = {name: [_linked(each, own) for each in each_role] for name, each_role in sample.files.items()}
                bad = files[role][number]
                bad.unlink()
                bad.write_bytes(data)
                yield f"with {path.name} replaced by {what}", replace(sample, files=files)
    yield "without its model files", replace(sample, files={})


def _linked(path: Path, folder: Path) -> Path:
    link = folder / path.name
    if not link.exists():
        link.symlink_to(path.absolute())
    return link
