"""Rules about many jobs in a row: nothing is left over, and nothing grows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from studio_worker.testing.conformance.rule import BrokenRule, NotApplicable
from studio_worker.testing.conformance.trial import Trial

MIB = 1024 * 1024

RELOADS = 6
"""How often a model is loaded anew."""


async def survives_many_runs(trial: Trial) -> str:
    """The same job runs as often as it is asked for."""
    runs = await trial.series()
    for number, ran in enumerate(runs, start=1):
        if ran.error is not None:
            raise BrokenRule(f"of {len(runs)} runs of the same job in a row, number {number} fails: {ran.error}")
    return f"{len(runs)} runs in a row"


async def keeps_its_size(trial: Trial) -> str:
    """Memory does not grow from job to job."""
    sizes = [record["before"]["memory"] for record in await trial.steady_records()][1:]
    grown = sizes[-1] - sizes[0]
    rises = sum(later > earlier for earlier, later in pairwise(sizes))
    if grown > trial.limits.growth_bytes and rises > len(sizes) // 2:
        raise BrokenRule(
            f"its memory grew by {grown / MIB:,.0f} MiB over {len(sizes) - 1} runs of the same job; let go of what a "
            "job needed when it is over (caches, lists of results, tensors in globals)"
        )
    return f"{grown / MIB:+,.0f} MiB over {len(sizes) - 1} runs"


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
    return "no files outside work_dir"


async def frees_its_model(trial: Trial) -> str:
    """`unload` gives back what `load` took."""
    sample = (await trial.quickest()).sample
    records = []
    for number in range(RELOADS):
        # A model of another name is another load.
        ran = await trial.bench.run(replace(sample, model=f"{sample.model}-{number % 2}"), marks=("traces",))
        if ran.error is not None or ran.record is None:
            raise BrokenRule(f"a model that is loaded for the {number + 1}. time fails: {ran.error}")
        records.append(ran.record)
    if records[-1]["loads"] == records[0]["loads"]:
        raise NotApplicable("loads no model")
    sizes = [record["before"]["memory"] for record in records][1:]
    if (grown := sizes[-1] - sizes[0]) > trial.limits.growth_bytes:
        raise BrokenRule(
            f"its memory grew by {grown / MIB:,.0f} MiB over {len(sizes) - 1} loads and unloads of the same model; "
            "free in unload() what load() took, and keep no other reference to it"
        )
    return f"{grown / MIB:+,.0f} MiB over {len(sizes) - 1} loads and unloads"


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
