"""What the worker says of itself: the capabilities, built anew for every heartbeat."""

from __future__ import annotations

from studio_worker.config import Config
from studio_worker.engines.router import Routes
from studio_worker.machine import Machine
from studio_worker.version import __version__
from studio_worker.wire.capabilities import Capabilities

HIDDEN_NAME_LENGTH = 8
"""Characters of the install id that stand for the machine's name where the operator hides it."""


def capabilities(
    config: Config, routes: Routes, machine: Machine, *, is_paused: bool, install_id: str | None
) -> Capabilities:
    """The worker's capabilities (protocol section 2).

    Args:
        config: the settings of this moment.
        routes: what the installed engines serve.
        machine: what `machine.probe` found.
        is_paused: whether offers are rejected now, by pause or drain.
        install_id: stands for the machine's name where `share_identity` is off.
    """
    hidden = install_id[:HIDDEN_NAME_LENGTH] if install_id else "unknown-host"
    name = config.machine_name or (machine.name if config.share_identity else hidden)
    return Capabilities(
        machine_name=name,
        username=machine.username if config.share_identity else "",
        agent_version=__version__,
        vram_total_gb=machine.vram_total_gb,
        vram_threshold_gb=config.vram_threshold_gb,
        auto_enabled=not is_paused,
        auto_start=config.auto_start,
        supported_models=routes.supported_models,
        task_kinds=tuple(kind.value for kind in routes.task_kinds),
        supported_models_per_kind={kind.value: models for kind, models in routes.models_per_kind.items()},
        sources={kind.value: sources for kind, sources in routes.sources_per_kind.items()},
        max_concurrent_jobs=config.max_concurrent_jobs,
    )
