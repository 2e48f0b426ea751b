"""One engine on trial: what is known of it, its samples, and runs that several rules look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from studio_worker.engines.description import EngineDescription
from studio_worker.testing.conformance.described import Described
from studio_worker.testing.conformance.limits import Limits
from studio_worker.testing.conformance.rule import NotApplicable, NotTried
from studio_worker.testing.conformance.samples import FILE_NAME, Sample
from studio_worker.testing.conformance.subject import Subject
from studio_worker.testing.conformance.workbench import Ran, Workbench


@dataclass(slots=False, kw_only=True)
class Trial:
    """What the rules look at.

    Attributes:
        subject: where the engine comes from.
        described: what the describe step gave, for all engines of the subject.
        description: this engine, as the worker reads it.
        samples: the samples that this engine serves.
        limits: bounds.
        folder: a private folder of this trial's.
    """

    subject: Subject
    described: Described
    description: EngineDescription
    samples: Sequence[Sample]
    limits: Limits
    folder: Path
    _first: list[Ran] = field(default_factory=list)
    _series: list[Ran] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The engine's name."""
        return self.description.name

    @cached_property
    def bench(self) -> Workbench:
        """Where its jobs run; made when it is first needed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return Workbench(self.subject, self.description, self.limits, self.folder)

    @property
    def runnable(self) -> list[Sample]:
        """The samples that can be run here.

        Raises:
            NotTried: there are none; says what is missing.
        """
        if self.description.status == "broken":
            raise NotApplicable(f"it could not be described: {self.description.reason}")
        if self.description.status == "unavailable":
            raise NotTried(f"the engine cannot run here: {self.description.reason}; {self.description.remedy}")
        if not self.samples:
            raise NotTried(
                f"there are no samples of {', '.join(self.description.kinds)}: ship {FILE_NAME} in the package, "
                "or give samples of your own (--samples FILE)"
            )
        found = [sample for sample in self.samples if not sample.missing]
        if not found:
            raise NotTried(
                f"the samples need files that are not here ({', '.join(self.samples[0].missing[:3])}): give samples "
                "whose `files` and `inputs` say where they lie (--samples FILE)"
            )
        return found

    async def first_runs(self) -> list[Ran]:
        """Each sample, run once. Raises NotApplicable."""
        if not self._first:
            for sample in self.runnable:
                self._first.append(await self.bench.run(sample, marks=("traces",)))
        return self._first

    async def good_runs(self) -> list[Ran]:
        """Those of `first_runs` whose engine returned something that the host took. Raises NotApplicable."""
        return self._chosen([ran for ran in await self.first_runs() if ran.output is not None])

    async def told_runs(self) -> list[Ran]:
        """Those of `first_runs` whose engine returned, whatever it was. Raises NotApplicable."""
        return self._chosen([ran for ran in await self.first_runs() if ran.record and ran.record["returned"]])

    async def quickest(self) -> Ran:
        """The good run that took the least time. Raises NotApplicable."""
        return min(await self.good_runs(), key=lambda ran: ran.secs)

    async def series(self) -> list[Ran]:
        """The quickest sample, run ten times in a row, with the same model. Raises NotApplicable."""
        if not self._series:
            sample = (await self.quickest()).sample
            for _ in range(self.limits.runs):
                self._series.append(await self.bench.run(sample, marks=("traces",)))
        return self._series

    async def steady_records(self) -> list[dict[str, Any]]:
        """The records of `series`. Raises NotApplicable where not all runs have one."""
        records = [dict(ran.record) for ran in await self.series() if ran.record is not None and ran.error is None]
        if len(records) < self.limits.runs:
            raise NotApplicable("not all runs in a row have come to their end, see survives-ten-runs")
        if len({record["pid"] for record in records}) > 1:
            raise NotApplicable("the engine's process was lost between the runs, see survives-ten-runs")
        return records

    def variant(self, sample: Sample, **fields: Any) -> Sample:
        """`sample` with other fields of its task, as the contract reads them.

        Raises:
            BadClaim: the contract has no such task.
        """
        from studio_worker.wire.tasks import parse_task, task_to_wire

        return replace(sample, task=parse_task({**task_to_wire(sample.task), **fields}))

    async def aclose(self) -> None:
        """End what runs."""
        if "bench" in self.__dict__:
            await self.bench.aclose()

    def _chosen(self, runs: list[Ran]) -> list[Ran]:
        if not runs:
            raise NotApplicable("no sample comes to a result, see every-kind-runs")
        return runs
