"""Which pairs of engine and model are left alone for a while, since they keep killing their process.

Three deaths within ten minutes put a pair in quarantine, whatever was done between them. After the pause it is tried
again: a success clears it, one more death doubles the pause. An exception that an engine raises is no death, and other
models of the engine go on.

An engine whose process died before its engine was built rests as a whole, until it is started again.

What is advertised: a quarantined model id is withdrawn. A label such as ``onnx:*`` stands for models that nobody can
count, so it stays, and a quarantined model behind it is refused by name. An engine of which nothing is left to
advertise is unavailable until the first pause ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from studio_worker.clock import Clock
from studio_worker.engines.description import EngineDescription
from studio_worker.engines.process_runner import EngineKey
from studio_worker.engines.restarts import Restarts
from studio_worker.text import escape

DEATHS = 3
WINDOW_SECS = 600.0
PAUSE_SECS = 300.0
"""The first pause; half the window, so that a machine that was short of memory for a moment is back soon."""

MAX_PAUSE_SECS = 6 * 3600.0
MAX_PAIRS = 1_000
"""Pairs that are remembered: model ids come from outside."""


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A pair that is left alone, for people: its deaths, and the seconds until it is tried again."""

    engine: str
    model: str
    deaths: int
    secs_left: float


@dataclass(slots=True)
class _Record:
    engine: str
    deaths: list[float]
    total: int = 0
    pause_secs: float = 0.0
    until: float = 0.0


class Quarantine:
    """Counts deaths of child processes, pair by pair. A plain object of the loop.

    Engines are told apart by their keys: two environments may bring two versions of one.

    Args:
        clock: time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._records: dict[tuple[EngineKey, str], _Record] = {}
        self._restarts: dict[EngineKey, Sequence[Restarts]] = {}

    def died(self, engine: EngineDescription, model: str) -> bool:
        """A child died while it loaded or ran this model; whether the pair is in quarantine now."""
        now = self._clock.monotonic()
        record = self._records.pop((engine.key, model), None) or _Record(engine.name, [])
        self._records[engine.key, model] = record
        recent = [at for at in record.deaths if now - at < WINDOW_SECS]
        record.total = record.total + 1 if recent or record.pause_secs else 1
        record.deaths = [*recent, now][-DEATHS:]
        if now >= record.until and (record.pause_secs or len(record.deaths) >= DEATHS):
            record.pause_secs = min(MAX_PAUSE_SECS, 2 * record.pause_secs or PAUSE_SECS)
            record.until = now + record.pause_secs
        self._bound(now)
        return now < record.until

    def rests(self, engine: EngineDescription, restarts: Sequence[Restarts]) -> bool:
        """A process may have died at its start, as `restarts` of each device know; whether the engine rests now."""
        self._restarts[engine.key] = restarts
        return self.rest(engine) is not None

    def rest(self, engine: EngineDescription) -> str | None:
        """Why no process of this engine is started now, with when one is; None where one may be, on any device."""
        by_end = sorted(self._restarts.get(engine.key, ()), key=lambda each: each.rests_until)
        return by_end[0].refusal(engine.name) if by_end else None

    def succeeded(self, engine: EngineDescription, model: str) -> None:
        """A job of this pair was done, which ends its time on trial; deaths before that stay counted."""
        record = self._records.get((engine.key, model))
        if record is not None and record.pause_secs:
            del self._records[engine.key, model]

    def refusal(self, engine: EngineDescription, model: str) -> str | None:
        """Why this pair is not run now, with when it is tried again; None where it may run."""
        record = self._records.get((engine.key, model))
        left = record.until - self._clock.monotonic() if record else 0.0
        if record is None or left <= 0:
            return None
        return (
            f"engine '{engine.name}' died {record.total} times on model '{escape(model, limit=200)}'; "
            f"it is tried again in {max(1, round(left))} s"
        )

    @property
    def pairs(self) -> tuple[Quarantined, ...]:
        """What is in quarantine now, the longest there first."""
        now = self._clock.monotonic()
        return tuple(
            Quarantined(record.engine, model, record.total, round(record.until - now, 1))
            for (_, model), record in self._records.items()
            if record.until > now
        )

    def next_release(self) -> float | None:
        """When, on the clock's monotonic time, the next pair is tried again and the advert changes; None for never."""
        now = self._clock.monotonic()
        pairs = (record.until for record in self._records.values())
        engines = (each.rests_until for restarts in self._restarts.values() for each in restarts)
        return min((until for until in (*pairs, *engines) if until > now), default=None)

    def advertised(self, engines: Iterable[EngineDescription]) -> tuple[EngineDescription, ...]:
        """The engines without the models that are in quarantine; for `Routes.build`.

        A kind stays routable by its source: only an engine that serves no source, and lists nothing else, goes.
        """
        return tuple(self._without_quarantined(engine) for engine in engines)

    def _without_quarantined(self, engine: EngineDescription) -> EngineDescription:
        if engine.status != "available":
            return engine
        if (rest := self.rest(engine)) is not None:
            return _unavailable(engine, rest)
        reasons = {
            model: reason
            for ids in engine.models.values()
            for model in ids
            if not model.endswith(":*") and (reason := self.refusal(engine, model))
        }
        if not reasons:
            return engine
        models = {kind: tuple(model for model in ids if model not in reasons) for kind, ids in engine.models.items()}
        if engine.sources or any(models.values()):
            # Other models come with their source, whether or not the engine lists any.
            return replace(engine, models=models)
        return _unavailable(engine, next(iter(reasons.values())))

    def _bound(self, now: float) -> None:
        if len(self._records) > MAX_PAIRS:
            spare = next((pair for pair, record in self._records.items() if record.until <= now), None)
            del self._records[spare or next(iter(self._records))]


def _unavailable(engine: EngineDescription, reason: str) -> EngineDescription:
    return replace(engine, status="unavailable", reason=reason, remedy="look into the log for how it died")
