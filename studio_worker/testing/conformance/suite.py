"""The kit as a pytest class: one test a rule.

::

    from studio_worker.testing import EngineConformance

    class TestLama(EngineConformance):
        plugin = "lama"

runs every rule on the installed plugin ``lama``, with the samples that it ships. A failure is the rule's sentence.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from studio_worker.engines.base import Engine
from studio_worker.engines.certificates import ESSENTIAL
from studio_worker.engines.entry_points import list_plugins
from studio_worker.testing.conformance.catalogue import RULES
from studio_worker.testing.conformance.check import Examination
from studio_worker.testing.conformance.limits import Limits
from studio_worker.testing.conformance.report import Outcome
from studio_worker.testing.conformance.rule import Rule
from studio_worker.testing.conformance.samples import Sample, listed, read_samples, shipped_samples
from studio_worker.testing.conformance.subject import Subject
from studio_worker.wire.kinds import TaskKind


class RunningExamination:
    """An examination and the loop that it lives in, from test to test of one class."""

    def __init__(
        self, subject: Subject, samples: Sequence[Sample], limits: Limits, *, without: Collection[TaskKind] = ()
    ) -> None:
        # No loop is set for the thread: other tests of the process have their own.
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self._examination = Examination(subject, samples, limits, without=without)

    def __enter__(self) -> RunningExamination:
        self._runner.__enter__()
        try:
            self._runner.run(self._examination.__aenter__())
        except BaseException:
            self._runner.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._runner.run(self._examination.__aexit__(None, None, None))
        finally:
            self._runner.close()

    def try_rule(self, rule: Rule) -> tuple[Outcome, str]:
        """The rule on all engines of the subject: the worst outcome, and the sentences that go with it."""
        reports = [
            (trial.name, self._runner.run(self._examination.try_rule(trial, rule)))
            for trial in self._examination.trials
        ]
        for outcome in (Outcome.FAILED, Outcome.SKIPPED):
            if found := [f"{name}: {report.message}" for name, report in reports if report.outcome is outcome]:
                return outcome, "\n".join(found)
        return Outcome.PASSED, "\n".join(f"{name}: {report.message}" for name, report in reports)


class EngineConformance:
    """Subclass it, with the engine named, and every rule becomes a test.

    Attributes:
        plugin: the entry point name of an installed plugin.
        engine: in its place, ``"package.module:factory"``, an engine, or its class.
        samples: a file of samples (relative to the test's own file), or a list of `Sample`; a fixture called
            ``samples`` does as well, of the scope ``class`` or wider. None: what the plugin ships.
        table: the plugin's configuration.
        limits: bounds other than the kit's own.
        without: kinds that the engine serves and that no model is at hand for; a report never leaves one out.
    """

    plugin: ClassVar[str] = ""
    engine: ClassVar[Any] = None
    samples: ClassVar[Any] = None
    table: ClassVar[Mapping[str, Any]] = {}
    limits: ClassVar[Limits] = Limits()
    without: ClassVar[Collection[TaskKind]] = ()

    @pytest.fixture(scope="class")
    @classmethod
    def conformance(cls, request: pytest.FixtureRequest) -> Iterator[RunningExamination]:
        """The examination that all tests of the class share."""
        mine: type[EngineConformance] = request.cls
        subject = _subject(mine)
        samples = _samples(request, subject)
        with RunningExamination(subject, samples, mine.limits, without=mine.without) as examination:
            yield examination

    @pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
    def test_rule(self, rule: Rule, conformance: RunningExamination) -> None:
        """One rule; the failure is its sentence. An engine whose jobs were not run has not passed."""
        outcome, message = conformance.try_rule(rule)
        if outcome is Outcome.FAILED or (outcome is Outcome.SKIPPED and rule.id == ESSENTIAL):
            pytest.fail(f"{rule.id}: {message}", pytrace=False)
        if outcome is Outcome.SKIPPED:
            pytest.skip(f"{rule.id}: {message}")


def _subject(cls: type[EngineConformance]) -> Subject:
    if cls.engine is not None:
        engine = cls.engine() if isinstance(cls.engine, type) else cls.engine
        if not isinstance(engine, (str, Engine)):
            pytest.fail(
                f"{cls.__name__}.engine must be an Engine, its class or 'package.module:factory'", pytrace=False
            )
        return Subject.of_engine(engine)
    if not cls.plugin:
        pytest.fail(f"{cls.__name__} needs `plugin`, an entry point's name, or `engine`", pytrace=False)
    plugins = list_plugins()
    found = [ref for ref in plugins if ref.name == cls.plugin]
    if not found:
        names = ", ".join(sorted({ref.name for ref in plugins}))
        pytest.fail(f"no plugin {cls.plugin!r} is installed; there are: {names}", pytrace=False)
    return Subject.of_plugin(found[0], cls.table)


def _samples(request: pytest.FixtureRequest, subject: Subject) -> Sequence[Sample]:
    given = request.cls.samples
    if isinstance(given, (str, Path)):
        return read_samples(request.path.parent / given)
    # A fixture that is a method of the class is what its attribute says, too.
    if given is None or callable(given):
        try:
            given = request.getfixturevalue("samples")
        except pytest.FixtureLookupError:
            return _shipped(subject)
    try:
        return listed(given)
    except TypeError as problem:
        pytest.fail(f"{request.cls.__name__}: {problem}", pytrace=False)


def _shipped(subject: Subject) -> Sequence[Sample]:
    found = next((ref for ref in list_plugins() if ref.name == subject.plugin), None)
    path = shipped_samples(found) if found is not None else None
    return read_samples(path) if path is not None else ()
