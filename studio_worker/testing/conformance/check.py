"""The kit as a function: all rules on all engines of a plugin, and a report."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from studio_worker.engines.base import Engine
from studio_worker.engines.entry_points import PluginRef
from studio_worker.engines.self_report import said
from studio_worker.testing.conformance.catalogue import RULES
from studio_worker.testing.conformance.described import describe
from studio_worker.testing.conformance.limits import Limits
from studio_worker.testing.conformance.report import KIT_VERSION, EngineReport, Outcome, Report, RuleReport
from studio_worker.testing.conformance.rule import BrokenRule, NotApplicable, Rule
from studio_worker.testing.conformance.rules.describing import HEAVY
from studio_worker.testing.conformance.samples import Sample, listed, read_samples, shipped_samples
from studio_worker.testing.conformance.subject import Subject
from studio_worker.testing.conformance.trial import Trial
from studio_worker.version import API_VERSION
from studio_worker.wire.kinds import TaskKind

OnRule = Callable[[str, Rule, RuleReport | None], None]
"""Told of each rule twice: the engine's name, the rule, and None when it begins, its report when it is over."""


async def check_plugin(
    ref: PluginRef,
    samples: Sequence[Sample] | None = None,
    *,
    table: Mapping[str, Any] | None = None,
    limits: Limits | None = None,
    on_rule: OnRule | None = None,
) -> Report:
    """Try every rule on every engine of an installed plugin.

    Args:
        ref: the plugin, as `entry_points.list_plugins` found it.
        samples: jobs that its engines can do; None for those that the plugin ships as ``conformance.jsonl``.
        table: the operator's ``[plugins.<name>]`` table.
        limits: bounds other than the kit's own.
        on_rule: told of each rule when it begins and when it is over.

    Raises:
        BadSamples: the plugin's file of samples cannot be used.
        TypeError: `samples` is no list of samples.
    """
    if samples is None:
        path = await asyncio.to_thread(shipped_samples, ref)
        samples = await asyncio.to_thread(read_samples, path) if path is not None else ()
    return await _check(Subject.of_plugin(ref, table or {}), samples, limits, on_rule)


async def check_engine(
    engine: Engine | str,
    samples: Sequence[Sample],
    *,
    limits: Limits | None = None,
    on_rule: OnRule | None = None,
) -> Report:
    """Try every rule on an engine that is not installed.

    Args:
        engine: ``"package.module:factory"``, which runs in a process as a plugin's does; or an object, which runs here.
        samples: jobs that it can do.
        limits: bounds other than the kit's own.
        on_rule: told of each rule when it begins and when it is over.

    Raises:
        TypeError: `samples` is no list of samples.
    """
    return await _check(Subject.of_engine(engine), samples, limits, on_rule)


async def _check(subject: Subject, samples: Sequence[Sample], limits: Limits | None, on_rule: OnRule | None) -> Report:
    async with Examination(subject, samples, limits) as examination:
        engines = []
        for trial in examination.trials:
            reports = []
            for rule in RULES:
                if on_rule is not None:
                    on_rule(trial.name, rule, None)
                reports.append(await examination.try_rule(trial, rule))
                if on_rule is not None:
                    on_rule(trial.name, rule, reports[-1])
            engines.append(EngineReport(trial.name, tuple(reports)))
            await trial.aclose()
    return Report(
        distribution=subject.distribution,
        version=subject.version,
        kit_version=KIT_VERSION,
        api_version=API_VERSION,
        engines=tuple(engines),
    )


class Examination:
    """A subject under examination: described once, one trial an engine, all of it gone at the end of the block.

    Args:
        subject: what to check.
        samples: jobs that its engines can do.
        limits: bounds.
        without: kinds that need no sample.

    Raises:
        TypeError: `samples` is no list of samples.
    """

    def __init__(
        self,
        subject: Subject,
        samples: Sequence[Sample],
        limits: Limits | None = None,
        *,
        without: Collection[TaskKind] = (),
    ) -> None:
        self._subject = subject
        self._samples = listed(samples)
        self._limits = limits or Limits()
        self._without = without
        self._folder = Path()
        self.trials: tuple[Trial, ...] = ()

    async def __aenter__(self) -> Examination:
        self._folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="studio-worker-check-"))
        try:
            described = await describe(self._subject, self._limits, hidden=HEAVY)
        except BaseException:
            self._folder.rmdir()
            raise
        self.trials = tuple(
            Trial(
                subject=self._subject,
                described=described,
                description=description,
                samples=_served(self._samples, description.kinds, description.sources),
                limits=self._limits,
                folder=self._folder / str(description.position),
                without=self._without,
            )
            for description in described.descriptions(self._subject)
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            for trial in self.trials:
                await trial.aclose()
        finally:
            await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    async def try_rule(self, trial: Trial, rule: Rule) -> RuleReport:
        """One rule on one engine; whatever the engine makes a rule stumble over is a failure, and no exception."""
        began = time.monotonic()
        try:
            outcome, message = Outcome.PASSED, await rule.check(trial)
        except BrokenRule as broken:
            outcome, message = Outcome.FAILED, str(broken)
        except NotApplicable as reason:
            outcome, message = Outcome.SKIPPED, str(reason)
        except Exception as error:  # noqa: BLE001 - an engine may hand over what no rule has thought of
            outcome, message = Outcome.FAILED, f"the rule could not be finished: {said(error)}"
        return RuleReport(rule.id, outcome, message, round(time.monotonic() - began, 3))


def _served(samples: Sequence[Sample], kinds: Sequence[str], sources: Sequence[str]) -> list[Sample]:
    """The samples that an engine serves; one that names no source is for every engine of its kind."""
    return [
        sample
        for sample in samples
        if sample.kind in kinds and (sample.source is None or sample.source.engine in sources)
    ]
