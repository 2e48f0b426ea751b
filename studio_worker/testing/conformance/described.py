"""The describe step, as the worker takes it: each time a child, a request, an answer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from studio_worker.engines import describing
from studio_worker.engines.description import EngineDescription, broken, read_reports
from studio_worker.engines.interpreter import Interpreter
from studio_worker.engines.self_report import report_of, said
from studio_worker.errors import PluginError
from studio_worker.testing.conformance.limits import Limits
from studio_worker.testing.conformance.subject import ADAPTER, Subject


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """What describing a subject gave.

    Attributes:
        problem: why it gave nothing; empty where it did.
        reports: what each engine said of itself.
        again: what each said in another child.
        probe: what importing and describing cost (`adapter`); None for an engine given as an object.
        has_hooks_only: whether it brings job hooks and no engine.
        hidden_problem: what happened where the heavy libraries are not installed; empty where all was well.
        hidden_reports: what the engines said there.
    """

    problem: str = ""
    reports: Sequence[Any] = ()
    again: Sequence[Any] = ()
    probe: dict[str, Any] | None = None
    has_hooks_only: bool = False
    hidden_problem: str = ""
    hidden_reports: Sequence[Any] = ()

    def descriptions(self, subject: Subject) -> tuple[EngineDescription, ...]:
        """The engines as the worker reads them; one broken one, called like the subject, where it says none."""
        if self.problem:
            return (broken(subject.owner, self.problem),)
        if self.has_hooks_only:
            return ()
        if not self.reports:
            return (broken(subject.owner, "the plugin brings no engine; return one from studio_worker_engines"),)
        return read_reports(self.reports, subject.owner, is_builtin=subject.is_builtin)


async def describe(subject: Subject, limits: Limits, *, hidden: Sequence[str]) -> Described:
    """Take the describe step, and look at what it costs.

    Args:
        subject: what to describe.
        limits: bounds.
        hidden: libraries that one of the children is not to find.
    """
    if subject.engine is not None:
        return _of_object(subject)
    ask = partial(describing.describe, interpreter=Interpreter(subject.python), module=subject.module)
    try:
        answer = await ask(subject.entry_point, subject.entry_table, timeout_secs=limits.describe_secs)
        with TemporaryDirectory(prefix="studio-worker-check-") as folder:
            path = Path(folder) / "probe.json"
            table = {**subject.adapter_table(), "probe": str(path)}
            again = await ask(ADAPTER, table, timeout_secs=2 * limits.describe_secs)
            probe = json.loads(path.read_text("utf-8")) if path.is_file() else None
    except (PluginError, OSError) as error:
        return Described(problem=str(error) if isinstance(error, PluginError) else said(error))
    problem, reports = "", []
    try:
        table = {**subject.adapter_table(), "hidden": list(hidden)}
        reports = (await ask(ADAPTER, table, timeout_secs=limits.describe_secs))["engines"]
    except (PluginError, OSError) as error:
        problem = str(error)
    return Described(
        reports=answer["engines"],
        again=again["engines"],
        probe=probe,
        has_hooks_only=bool(answer["hooks"]) and not answer["engines"],
        hidden_problem=problem,
        hidden_reports=reports,
    )


def _of_object(subject: Subject) -> Described:
    try:
        return Described(reports=[report_of(subject.engine)], again=[report_of(subject.engine)])
    except Exception as error:  # noqa: BLE001 - whatever an engine raises here is what is wrong with it
        return Described(problem=said(error))
