"""What an installation has brought: its engines, a row each, as JSON and as a table have them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from studio_worker.engines.description import EngineDescription

COLUMNS = ("engine", "status", "distribution", "version", "reason")
"""What a table shows of a row; the remedy is told below it."""


def brought_row(engine: EngineDescription) -> dict[str, Any]:
    """One engine of a package that was installed now."""
    return {
        "engine": engine.name,
        "status": engine.status,
        "distribution": engine.distribution,
        "version": engine.version,
        "reason": engine.reason,
        "remedy": engine.remedy,
    }
