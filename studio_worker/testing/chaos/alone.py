"""The engine that a fault spoils where it is given none: it serves every kind, without a model."""

from __future__ import annotations

from studio_worker.engines.base import EngineCapabilities, Isolation
from studio_worker.engines.synthetic import SyntheticEngine
from studio_worker.wire.kinds import TaskKind

NAME = "chaos"


class Alone(SyntheticEngine):
    """What the synthetic engine makes, by the name and source ``chaos``; models ``chaos-image``, ``chaos-llm`` …"""

    name = NAME
    sources = (NAME,)
    isolation: Isolation = "process"

    def capabilities(self) -> EngineCapabilities:
        """All five kinds."""
        return EngineCapabilities({kind: [f"{NAME}-{kind.value.removeprefix('audio_')}"] for kind in TaskKind})
