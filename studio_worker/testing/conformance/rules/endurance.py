"""Rules about many jobs in a row: nothing is left over, and nothing grows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from statistics import median
from typing import Any

from studio_worker.testing.conformance.limits import Limits
from studio_worker.testing.conformance.rule import BrokenRule, NotApplicable, NotTried
from studio_worker.testing.conformance.samples import Sample
from studio_worker.testing.conformance.trial import Trial

MIB = 1024 * 1024

RELOADS = 6
"""How often a model is loaded anew."""

ROUNDS = 2
"""How often so many loads have to grow before they count."""


async def survives_many_runs(trial: Trial) -> str:
    """The same job runs as often as it is asked for."""
    runs = await trial.series()
    for number, ran in enumerate(runs, start=1):
        if ran.error is not None:
            raise BrokenRule(f"of {len(runs)} runs of the same job in a row, number {number} fails: {ran.error}")
    return f"{len(runs)} runs in a row"


async def keeps_its_size(trial: Trial) -> str:
    """Memory does not grow from job to job."""
    steps = await _job_steps(trial)
    grown = sum(steps)
    if _grows(steps, trial.limits):
        raise BrokenRule(
            f"its memory grew by {grown / MIB:,.0f} MiB over {len(steps)} runs of the same job; let go of what a "
            "job needed when it is over (caches, lists of results, tensors in globals)"
        )
    return f"{grown / MIB:+,.0f} MiB over {len(steps)} runs"


async def leaves_no_threads(trial: Trial) -> str:
    """No thread outlives its job."""
    remedy = "join what a job starts before it returns, or start it once in load()"
    await _check_growth(trial, "threads", "threads", remedy, count=lambda traces: traces["native_threads"])
    return "as many threads as before"


async def leaves_no_files_open(trial: Trial) -> str:
    """No file or socket stays open."""
    await _check_growth(trial, "files", "open files", "open them in a `with` block")
    return "as many open files as before"


async def leaves_no_processes(trial: Trial) -> str:
    """No process outlives the job that started it."""
    remedy = "wait for what a job starts before it returns, also when it fails"
    await _check_growth(trial, "children", "processes", remedy)
    return "as many processes as before"


async def leaves_no_litter(trial: Trial) -> str:
    """Files go into `work_dir` and nowhere else."""
    records = await trial.steady_records()
    last = records[-1]
    begun = next(ran.record for ran in await trial.first_runs() if ran.record is not None)["before"]
    before, after = set(begun["cwd"]), set(last["before"]["cwd"])
    is_moved = begun["place"] != last["before"]["place"]
    if not is_moved and (written := sorted(name for name in after - before if not name.startswith((".", "__")))):
        raise BrokenRule(f"jobs wrote {written[0]} into the working directory; write into job.work_dir alone")
    remedy = "write into job.work_dir, which goes with the job"
    await _check_growth(trial, "temp", "temporary files", remedy)
    places = "among the temporary files or in the working directory" if trial.bench.is_alone else "where it runs"
    return f"nothing left {places}"


async def frees_its_model(trial: Trial) -> str:
    """`unload` gives back what `load` took."""
    sample = (await trial.quickest()).sample
    remedy = "free in unload() what load() took, and keep no other reference to it"
    for first in range(0, RELOADS * ROUNDS, RELOADS):
        records = await _reloads(trial, sample, first)
        steps = _steps([record["before"]["memory"] for record in records][1:])
        if records[-1]["loads"] == records[0]["loads"]:
            raise NotApplicable("loads no model")
        if (kept := records[-1]["kept"] - records[1]["kept"]) > len(steps) // 2:
            raise BrokenRule(f"of {len(steps)} models that it unloaded, {kept} are still there; {remedy}")
        grown, whole = sum(steps), _size(sample) * len(steps)
        allowed = min(trial.limits.growth_bytes, max(trial.limits.noise_bytes, whole // 2))
        # Libraries reserve memory at their first loads; what is kept of each load shows in the next round too.
        if grown <= allowed or not _is_steady(steps, trial.limits.growth_per_run_bytes):
            break
    else:
        if _grows(await _job_steps(trial), trial.limits):
            raise NotApplicable("its memory grows with each job, whatever is loaded, see keeps-its-size")
        raise BrokenRule(
            f"its memory grew by {grown / MIB:,.0f} MiB over {len(steps)} loads and unloads of the same model; {remedy}"
        )
    if whole // 2 < trial.limits.noise_bytes and not records[-1]["can_tell_kept"]:
        raise NotTried(
            f"{len(steps)} loads of a model of {_size(sample) / 1000:,.0f} kB do not show in the memory of a process: "
            "give a sample with a larger model"
        )
    return f"{grown / MIB:+,.0f} MiB over {len(steps)} loads and unloads"


async def _reloads(trial: Trial, sample: Sample, first: int) -> list[dict[str, Any]]:
    """The records of runs that each load a model of a name of its own, so that no cache has it by its name."""
    records = []
    for number in range(first, first + RELOADS):
        ran = await trial.bench.run(replace(sample, model=f"{sample.model}-{number}"), marks=("traces",))
        if ran.error is not None or ran.record is None:
            raise BrokenRule(f"a model that is loaded for the {number + 1}. time fails: {ran.error}")
        records.append(dict(ran.record))
    return records


async def _job_steps(trial: Trial) -> list[int]:
    """What memory grew by from run to run of the same job, after the first. Raises NotApplicable."""
    return _steps([record["before"]["memory"] for record in await trial.steady_records()][1:])


def _steps(sizes: Sequence[int]) -> list[int]:
    return [later - earlier for earlier, later in pairwise(sizes)]


def _grows(steps: Sequence[int], limits: Limits) -> bool:
    """Whether memory grows with nearly each job, or by too much in all."""
    is_rising = sum(step > 0 for step in steps) > len(steps) // 2
    return _is_steady(steps, limits.growth_per_run_bytes) or (is_rising and sum(steps) > limits.growth_bytes)


def _is_steady(steps: Sequence[int], least_bytes: int) -> bool:
    """Whether memory grows with nearly each step, and by about the same: a cache that fills does so for a while."""
    return sum(step > 0 for step in steps) >= len(steps) - 1 and median(steps) > least_bytes


def _size(sample: Sample) -> int:
    """Bytes of a sample's model files."""
    return sum(path.stat().st_size for paths in sample.files.values() for path in paths)


async def _check_growth(
    trial: Trial,
    what: str,
    things: str,
    remedy: str,
    *,
    count: Callable[[Mapping[str, Any]], int] | None = None,
) -> None:
    """Raise `BrokenRule` where the traces of the last of many runs hold more of `what` than those of the second."""
    records = await trial.steady_records()
    size = count or (lambda traces: len(traces[what]))
    grown = size(records[-1]["before"]) - size(records[1]["before"])
    if grown >= trial.limits.files:
        raise BrokenRule(
            f"{grown} {things} more after {len(records) - 2} runs of the same job{_new(records, what)}; {remedy}"
        )


def _new(records: Sequence[dict[str, Any]], what: str) -> str:
    """The first names that are there now and were not, for a sentence."""
    more = Counter(records[-1]["before"][what]) - Counter(records[1]["before"][what])
    return f" ({', '.join(sorted(more)[:3])})" if more else ""
