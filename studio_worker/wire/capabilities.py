"""What a worker says of itself, at registration, in hello and in every heartbeat (protocol section 2)."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import Field

from studio_worker.wire.base import WireModel, bounded_text, number, whole

Name: TypeAlias = Annotated[str, bounded_text(1_024, may_be_blank=True)]
Names: TypeAlias = Annotated[tuple[Name, ...], Field(strict=False, max_length=100_000)]


class Capabilities(WireModel):
    """A worker's machine, engines and willingness. Kinds are plain text here: a studio may know more than we do."""

    machine_name: Name = "unknown-host"
    username: Name = ""
    agent_version: Name = ""
    engine: Name = "multi"
    vram_total_gb: Annotated[float, number(0, 1_000_000)] = 0.0
    vram_threshold_gb: Annotated[float, number(0, 1_000_000)] = 0.0
    auto_enabled: bool = True
    auto_start: bool = False
    supported_models: Names = ()
    task_kinds: Names = ()
    supported_models_per_kind: dict[Name, Names] = Field(default_factory=dict)
    sources: dict[Name, Names] | None = Field(None, description="Ours: the ModelSource.engine ids served, by kind.")
    max_concurrent_jobs: Annotated[int, whole(1, 1_024)] | None = Field(None, description="Extension `capacity`.")
