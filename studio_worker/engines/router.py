"""Which engine runs a job: one immutable map of everything that the installed engines serve.

The rule (protocol section 6): by source id and kind where the claim names a source; by the exact pair of kind and
model otherwise; never by kind alone, and never by falling back to the synthetic engine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from studio_worker.engines.description import EngineDescription
from studio_worker.engines.refusals import refusal
from studio_worker.log import logger
from studio_worker.wire.kinds import TaskKind


@dataclass(frozen=True, slots=True)
class Route:
    """The router's choice for one job. `match` says by which rule it was found."""

    engine: EngineDescription
    kind: TaskKind
    model: str
    source_id: str | None
    match: Literal["source", "model"]


class Routes:
    """Everything that can be routed to, looked up in constant time; a change is a new `Routes`.

    Attributes:
        task_kinds: the kinds served.
        supported_models: all advertised model ids.
        models_per_kind: kind to advertised model ids.
        sources_per_kind: kind to the source ids served.

    All of them keep the order (real engines by name, the synthetic one last) and hold nothing twice.
    """

    __slots__ = (
        "_by_model",
        "_by_source",
        "_known",
        "models_per_kind",
        "sources_per_kind",
        "supported_models",
        "task_kinds",
    )

    def __init__(
        self,
        by_source: Mapping[tuple[str, TaskKind], EngineDescription],
        by_model: Mapping[tuple[TaskKind, str], EngineDescription],
        known: tuple[EngineDescription, ...],
    ) -> None:
        self._by_source = MappingProxyType(dict(by_source))
        self._by_model = MappingProxyType(dict(by_model))
        self._known = known
        served = [engine for engine in known if engine.status == "available"]
        self.task_kinds = tuple(dict.fromkeys(kind for engine in served for kind in engine.kinds))
        self.supported_models = tuple(
            dict.fromkeys(model for engine in served for ids in engine.models.values() for model in ids)
        )
        self.models_per_kind: Mapping[TaskKind, tuple[str, ...]] = MappingProxyType(
            {
                kind: tuple(dict.fromkeys(model for engine in served for model in engine.models.get(kind, ())))
                for kind in self.task_kinds
            }
        )
        self.sources_per_kind: Mapping[TaskKind, tuple[str, ...]] = MappingProxyType(
            {
                kind: tuple(
                    dict.fromkeys(source for engine in served if kind in engine.models for source in engine.sources)
                )
                for kind in self.task_kinds
            }
        )

    @classmethod
    def build(
        cls, descriptions: Iterable[EngineDescription], preferences: Mapping[str, str] = MappingProxyType({})
    ) -> Routes:
        """The routes over all available engines; the others are kept for what a refusal has to say.

        Where two engines claim the same key, the preferred one gets it, else the first by (not synthetic, name),
        and a warning names both.

        Args:
            descriptions: all engines of this worker, in any order.
            preferences: source id to the name of the engine that is to serve it.
        """
        known = tuple(sorted(descriptions, key=_rank))
        by_source: dict[tuple[str, TaskKind], EngineDescription] = {}
        by_model: dict[tuple[TaskKind, str], EngineDescription] = {}
        contests: dict[tuple[EngineDescription, EngineDescription], str] = {}
        for engine in known:
            if engine.status != "available":
                continue
            for source in engine.sources:
                for kind in engine.kinds:
                    holder = by_source.setdefault((source, kind), engine)
                    if holder is engine:
                        continue
                    if preferences.get(source) == engine.name != holder.name:
                        by_source[source, kind] = engine
                    elif preferences.get(source) != holder.name:
                        contests.setdefault((holder, engine), f"source {source}, kind {kind}")
            for kind, models in engine.models.items():
                for model in models:
                    holder = by_model.setdefault((kind, model), engine)
                    if holder is engine or engine.is_synthetic:
                        continue
                    if _is_preferred(engine, holder, preferences):
                        by_model[kind, model] = engine
                    elif not _is_preferred(holder, engine, preferences):
                        contests.setdefault((holder, engine), f"model {model}, kind {kind}")
        for (holder, other), key in contests.items():
            logger.bind(event="engine.router", op="build", key=key, engine=holder.label, also=other.label).warning(
                "Two engines claim the same key; the first one serves it, engine_preferences decides otherwise"
            )
        _warn_of_idle_preferences(preferences, by_source)
        return cls(by_source, by_model, known)

    def pick(self, kind: TaskKind, model: str, source_id: str | None) -> Route:
        """The engine for one job, in constant time; leaves one log line, whatever the outcome.

        Args:
            kind: what is to be made.
            model: the model id.
            source_id: the engine id of the claim's ModelSource; None where there is no source.

        Raises:
            NoEngine: nobody here serves it; the sentence names source id, kind, model and the remedy.
            UnsupportedTask: the source id is served, but not for this kind.
        """
        match: Literal["source", "model"] = "model" if source_id is None else "source"
        engine = self._by_model.get((kind, model)) if source_id is None else self._by_source.get((source_id, kind))
        said = {"event": "engine.router", "op": "pick", "kind": kind.value, "model": model, "source": source_id}
        if engine is None:
            error = refusal(self._known, kind, model, source_id)
            logger.bind(**said, engine=None, match="none", reason=str(error)).warning("No engine picked")
            raise error
        # Fields given to the call cost nothing where nobody logs; a bound logger would be made all the same.
        logger.info("Engine picked", **said, engine=engine.name, match=match)
        return Route(engine, kind, model, source_id, match)


def _rank(engine: EngineDescription) -> tuple[bool, str, str, str, str, int]:
    return (engine.is_synthetic, engine.name, *engine.key)


def _is_preferred(engine: EngineDescription, other: EngineDescription, preferences: Mapping[str, str]) -> bool:
    """Whether the operator prefers `engine` for a source that both serve."""
    return engine.name != other.name and any(
        preferences.get(source) == engine.name for source in engine.sources if source in other.sources
    )


def _warn_of_idle_preferences(
    preferences: Mapping[str, str], by_source: Mapping[tuple[str, TaskKind], EngineDescription]
) -> None:
    for source, name in preferences.items():
        if not any(key[0] == source and engine.name == name for key, engine in by_source.items()):
            logger.bind(event="engine.router", op="build", source=source, engine=name).warning(
                "engine_preferences names an engine that does not serve this source here"
            )
