"""Rules about jobs that go well: they run, and come to what was asked for."""

from __future__ import annotations

from studio_worker.engines.base import RESULT_TYPES
from studio_worker.errors import ResultRejected
from studio_worker.testing.conformance.rule import BrokenRule, NotApplicable, NotTried
from studio_worker.testing.conformance.samples import FILE_NAME
from studio_worker.testing.conformance.trial import Trial
from studio_worker.testing.conformance.workbench import Ran


async def every_kind_runs(trial: Trial) -> str:
    """There is a sample of each kind, and the engine does it."""
    runnable = trial.runnable
    there = {sample.kind for sample in trial.samples}
    if lacking := [kind for kind in trial.description.kinds if kind not in {*there, *trial.without}]:
        raise BrokenRule(
            f"the engine advertises {lacking[0]} and there is no sample of it: add a line to {FILE_NAME}, or do not "
            "advertise the kind"
        )
    if absent := [sample for sample in trial.samples if sample.missing]:
        raise NotTried(
            f"the sample of {absent[0].kind} needs files that are not here ({', '.join(absent[0].missing[:3])}): "
            "give samples whose `files` and `inputs` say where they lie (--samples FILE)"
        )
    for ran in await trial.first_runs():
        if ran.output is None and not _has_returned(ran):
            words = str(ran.error).rstrip(".")
            raise BrokenRule(f"the sample of {ran.sample.kind} ({ran.sample.model}) does not run: {words}")
    untried = f"; not tried: {', '.join(sorted(trial.without))}" if trial.without else ""
    return f"{len(runnable)} sample{'s' if len(runnable) > 1 else ''} of {', '.join(sorted(there))}{untried}"


async def result_fits_kind(trial: Trial) -> str:
    """What `run` returns is the result type of the job's kind."""
    for ran in await trial.told_runs():
        needed = RESULT_TYPES[ran.sample.kind].__name__
        returned = ran.record["returned"] if ran.record else ""
        if returned != needed:
            raise BrokenRule(f"run() returned {_named(returned)} for a job of kind {ran.sample.kind}; return {needed}")
    return "every result is of the type that its kind needs"


async def result_can_be_used(trial: Trial) -> str:
    """The worker takes the result, and it passes the check before delivery."""
    runs = [ran for ran in await trial.told_runs() if ran.record and _fits(ran)]
    if not runs:
        raise NotApplicable("no result is of the type that its kind needs, see result-fits-kind")
    for ran in runs:
        if ran.output is None:
            raise BrokenRule(f"the worker does not take the result of the sample of {ran.sample.kind}: {ran.error}")
        try:
            ran.inspect()
        except ResultRejected as problem:
            raise BrokenRule(
                f"the result of the sample of {ran.sample.kind} would not be delivered: {problem}"
            ) from None
    return f"{len(runs)} result{'s' if len(runs) > 1 else ''} decoded and checked"


async def run_fits_isolation(trial: Trial) -> str:
    """`run` is async where the engine asks for the loop, and nowhere else."""
    isolation = trial.description.isolation
    records = [ran.record for ran in await trial.first_runs() if ran.record is not None]
    if not records:
        raise NotApplicable("no run of a sample came to its end, see every-kind-runs")
    is_async = records[0]["is_async"]
    if isolation == "loop" and not is_async:
        raise BrokenRule("isolation is 'loop' and run is a plain method: write `async def run`, or take 'thread'")
    if isolation != "loop" and is_async:
        raise BrokenRule(
            f"isolation is {isolation!r} and run is `async def`: set isolation = 'loop', or write `def run`"
        )
    return f"run fits isolation {isolation!r}"


async def meta_is_json(trial: Trial) -> str:
    """`job.meta` can go into `generationMeta`."""
    runs = await trial.told_runs()
    for ran in runs:
        if ran.record and (problem := ran.record["meta_problem"]):
            raise BrokenRule(
                f"job.meta is not JSON ({problem}): the worker would leave all of it out; put texts, numbers, lists "
                "and objects with text keys there"
            )
    if not any(ran.record and ran.record["has_meta"] for ran in runs):
        raise NotApplicable("keeps nothing in job.meta")
    return "meta is JSON"


def _has_returned(ran: Ran) -> bool:
    """Whether the engine did its part, and it is the result that is not taken."""
    return ran.record is not None and ran.record["returned"] is not None


def _fits(ran: Ran) -> bool:
    return bool(ran.record and ran.record["returned"] == RESULT_TYPES[ran.sample.kind].__name__)


def _named(returned: str) -> str:
    return "None" if returned == "NoneType" else f"a {returned}"
