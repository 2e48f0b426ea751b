"""Rules about how an engine behaves while it works: towards its job, its process and the worker."""

from __future__ import annotations

import asyncio
import math

from studio_worker.testing.conformance.rule import BrokenRule, NotApplicable, NotTried
from studio_worker.testing.conformance.trial import Trial
from studio_worker.testing.conformance.workbench import Ran

_TICK_SECS = 0.01
_TRIES = 3
"""A busy machine keeps a loop waiting too, and a cancel late, but hardly each time."""

_SHORT_WAIT_SECS = 0.1
"""A loop that waits so long is nobody's trouble, whatever the sample takes."""

_TELLING_SECS = 0.5
"""An engine that works on for so long after a cancel, and does not ask, may not ask at all."""

_CANCELS = ("Cancelled", "CancelledError")

MAX_STAGE = 64


async def heeds_cancel(trial: Trial) -> str:
    """A cancelled job ends within a bound, of itself."""
    longest = max(await trial.good_runs(), key=_work_secs)
    after_secs = _moment_in(longest, trial.limits.cancel_secs)
    # In the middle of its work if that can be; what is warm may be quicker than it was; else as soon as it has begun.
    for _ in range(_TRIES):
        ran = await trial.bench.run_cancelled(longest.sample, after_secs=after_secs)
        if ran.settled_secs is None:
            after_secs = min(_moment_in(ran, trial.limits.cancel_secs), after_secs / 2)
            continue
        if ran.settled_secs > trial.limits.cancel_secs:
            raise BrokenRule(
                f"a cancelled job went on for more than {trial.limits.cancel_secs:g} s; the worker ends such a "
                "process, and its loaded model with it: call job.check_cancelled() between steps"
            )
        if _was_told(ran):
            return f"over {ran.settled_secs:.1f} s after the cancel"
        if ran.settled_secs > _TELLING_SECS:
            raise NotTried(
                f"a cancelled job went on for {ran.settled_secs:.1f} s, to its end, and never asked: give a sample of "
                f"more than {trial.limits.cancel_secs:g} s, which shows whether it asks in time"
            )
        after_secs = 0.0
    raise NotTried(f"its sample ends in {_work_secs(ran):.1f} s, before a cancel reaches it: give a longer sample")


async def lets_cancelled_through(trial: Trial) -> str:
    """`Cancelled` leaves `run` as it came."""
    looked = False
    for first in await trial.good_runs():
        ran = await trial.bench.run(first.sample, marks=("cancel",))
        record = ran.record
        if record is None:
            raise BrokenRule(f"when check_cancelled() raised, its process ended: {ran.error}")
        if not record["looked"]:
            continue
        looked = True
        if record["raised"] not in (None, *_CANCELS):
            raise BrokenRule(
                f"when check_cancelled() raised Cancelled, run() raised {record['message'] or record['raised']}; let "
                "Cancelled through (it is a BaseException, so catch Exception at most)"
            )
        if record["raised"] is None and record["was_raised"]:
            raise BrokenRule(
                "check_cancelled() raised Cancelled, and run() went on to a result; let Cancelled through: neither "
                "`except BaseException` nor a bare `except` may stand around it"
            )
    if not looked:
        raise NotApplicable("never asks whether the job is cancelled")
    return "Cancelled leaves run() as it came"


async def progress_is_sane(trial: Trial) -> str:
    """Steps are numbers within their total, and do not go back within a stage."""
    count = 0
    for ran in await trial.told_runs():
        last: tuple[str, int, int] = ("", 0, 0)
        for step, total, stage in ran.record["progress"] if ran.record else ():
            count += 1
            call = f"job.progress({step!r}, {total!r}, stage={stage!r})"
            if not (_is_whole(step) and _is_whole(total)):
                raise BrokenRule(f"{call}: steps are whole numbers")
            if not 0 <= step <= total or total < 1:
                raise BrokenRule(f"{call}: a step is from 0 to its total, and a total at least 1")
            if not isinstance(stage, str) or not 0 < len(stage) <= MAX_STAGE:
                raise BrokenRule(f"{call}: a stage is a word of at most {MAX_STAGE} characters")
            if (stage, total) == (last[0], last[2]) and step < last[1]:
                raise BrokenRule(f"{call} came after step {last[1]} of the same stage: steps do not go back")
            last = (stage, step, total)
    if not count:
        raise NotApplicable("tells no progress")
    return f"{count} reports"


async def leaves_job_alone(trial: Trial) -> str:
    """The job's task and files are as they were."""
    for ran in await trial.first_runs():
        if ran.spoiled:
            raise BrokenRule(
                f"the engine changed {ran.spoiled[0]}, a file of the job's: the next job, or another try, needs it as "
                "it was; write into job.work_dir alone"
            )
        if ran.record is not None and ran.record["altered"]:
            raise BrokenRule(
                "the engine changed what it was asked for (job.task, job.files, job.inputs or job.seed); work on copies"
            )
    return "task and files are as they were"


async def leaves_surroundings_alone(trial: Trial) -> str:
    """What the code of a process shares is as it was."""
    for ran in await trial.first_runs():
        if ran.record is not None and ran.record["changed"]:
            what = ", ".join(dict.fromkeys(ran.record["changed"]))
            where = "its process" if trial.description.isolation == "process" else "the worker's process"
            raise BrokenRule(f"after a job the {what} of {where} is not what it was; put it back, or do without")
    return "nothing of the process is changed"


async def is_quiet(trial: Trial) -> str:
    """A job prints little."""
    if not trial.bench.is_alone:
        raise NotApplicable("runs in the worker's process, where nobody can tell who prints")
    ran = await trial.bench.run((await trial.quickest()).sample, marks=("count",))
    if ran.record is None:
        raise NotApplicable("its process did not live to tell")
    if (printed := ran.record["printed"]) > trial.limits.printed_bytes:
        raise BrokenRule(
            f"one job printed {printed:,} bytes, at most {trial.limits.printed_bytes:,} are in order; it buries what "
            "matters in the worker's log: use job.log, and make the library quiet"
        )
    return f"{printed:,} bytes a job"


async def leaves_loop_free(trial: Trial) -> str:
    """An engine on the loop never keeps it from others."""
    if trial.description.isolation != "loop":
        raise NotApplicable("does not run on the loop")
    sample = max(await trial.good_runs(), key=_work_secs).sample
    longest = []
    for _ in range(_TRIES):
        ticking = asyncio.create_task(_longest_wait())
        try:
            ran = await trial.bench.run(sample)
            # The wait that the run's end may hide is over with the next tick.
            await asyncio.sleep(2 * _TICK_SECS)
        finally:
            ticking.cancel()
            await asyncio.wait([ticking])
        longest.append(ticking.result())
        if longest[-1] <= trial.limits.block_secs and longest[-1] <= max(_SHORT_WAIT_SECS, ran.secs / 2):
            return f"the loop waited {longest[-1] * 1000:.0f} ms at most"
    if min(longest) <= trial.limits.block_secs:
        raise NotTried(
            f"its sample takes {ran.secs:.1f} s, and run() kept the event loop for most of it: give a longer sample, "
            "which shows whether it keeps it for longer too"
        )
    raise BrokenRule(
        f"run() kept the event loop from everybody else for {min(longest):.1f} s; await what takes long, give work to "
        "asyncio.to_thread, or take isolation 'thread'"
    )


def _work_secs(ran: Ran) -> float:
    """The time that a run took, its load left out."""
    return float(ran.record["secs"]) if ran.record is not None else ran.secs


def _moment_in(ran: Ran, bound_secs: float) -> float:
    """When to cancel another such run: in its middle, or while what is left of it is still longer than the bound."""
    work_secs = _work_secs(ran)
    left_over = work_secs - bound_secs
    return (left_over if left_over > 0 else work_secs) / 2


def _was_told(ran: Ran) -> bool:
    """Whether a cancel reached the engine at its work."""
    return ran.record is not None and (ran.record["was_told"] or ran.record["raised"] in _CANCELS)


def _is_whole(number: object) -> bool:
    return isinstance(number, (int, float)) and math.isfinite(number) and number == int(number)


async def _longest_wait() -> float:
    """The longest time that this task was kept waiting beyond its sleep, until it is cancelled."""
    loop, longest = asyncio.get_running_loop(), 0.0
    try:
        while True:
            began = loop.time()
            await asyncio.sleep(_TICK_SECS)
            longest = max(longest, loop.time() - began - _TICK_SECS)
    except asyncio.CancelledError:
        return longest
