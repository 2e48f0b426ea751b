"""How long jobs take, as the worker measures it: by engine, kind and model."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median
from typing import Any

from studio_worker.engines.description import EngineDescription
from studio_worker.engines.process_runner import EngineKey
from studio_worker.wire.kinds import TaskKind

MAX_PAIRS = 256
"""Models that are remembered; the one that has rested longest makes way."""

MAX_JOBS = 50
"""Jobs of each, so that what is told is of the machine as it is now."""


@dataclass(frozen=True, slots=True)
class Speed:
    """What jobs of one model took of late.

    Attributes:
        engine: the engine's name.
        kind: the kind of job.
        model: the model id.
        jobs: how many were measured.
        median_secs: half of them took at most so long, loading included.
        distribution: the package of the engine; empty for an object that an embedder gave.
        plugin: the entry point that brought it.
        environment: the environment of its own that it runs from; empty: the worker's.
    """

    engine: str
    kind: TaskKind
    model: str
    jobs: int
    median_secs: float
    distribution: str = ""
    plugin: str = ""
    environment: str = ""

    def to_json(self) -> dict[str, Any]:
        """As ``GET /daemon/status`` has it."""
        return {
            "engine": self.engine,
            "kind": self.kind.value,
            "model": self.model,
            "jobs": self.jobs,
            "medianSecs": round(self.median_secs, 3),
            "distribution": self.distribution,
            "plugin": self.plugin,
            "environment": self.environment,
        }


@dataclass(frozen=True, slots=True)
class Times:
    """The jobs of one model as they were measured, the oldest first, in seconds."""

    engine: str
    key: EngineKey
    kind: TaskKind
    model: str
    secs: tuple[float, ...]


class Speeds:
    """The times of the jobs that ended well. A plain object of the loop.

    Args:
        times: what an earlier worker had measured, as `times` gave it.
    """

    def __init__(self, times: Iterable[Times] = ()) -> None:
        self._times: OrderedDict[tuple[str, EngineKey, TaskKind, str], deque[float]] = OrderedDict(
            ((each.engine, each.key, each.kind, each.model), deque(each.secs, MAX_JOBS)) for each in times
        )

    def took(self, engine: EngineDescription, kind: TaskKind, model: str, secs: float) -> None:
        """A job of `model` has ended well."""
        key = (engine.name, engine.key, kind, model)
        times = self._times.get(key)
        if times is None:
            times = self._times[key] = deque(maxlen=MAX_JOBS)
            if len(self._times) > MAX_PAIRS:
                self._times.popitem(last=False)
        else:
            self._times.move_to_end(key)
        times.append(secs)

    def times(self) -> tuple[Times, ...]:
        """All that is known, for another worker; the model that has rested longest first."""
        return tuple(Times(*key, tuple(round(secs, 6) for secs in times)) for key, times in self._times.items())

    def read(self) -> tuple[Speed, ...]:
        """What is known, by engine, kind and model; of two engines of one name, each has its own."""
        return tuple(
            Speed(name, kind, model, len(times), median(times), *where)
            for (name, (*where, _), kind, model), times in sorted(self._times.items())
        )
