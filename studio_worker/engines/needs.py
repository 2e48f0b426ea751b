"""What an engine needs of a machine, as it states it. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

PLATFORMS = {"linux": "Linux", "darwin": "macOS", "win32": "Windows"}
"""Where a worker runs: `sys.platform` to the name for people."""

GpuVendor: TypeAlias = Literal["nvidia", "amd", "apple", "any"]
"""Whose GPU; ``any`` is one of these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What must be there before the engine is of any use; the worker looks, and shows what is missing.

    What one model takes belongs into `Engine.estimate`. What no engine can say by a number, such as a missing library,
    belongs into `Engine.availability`.

    Attributes:
        gpu: whose GPU; None: it runs without one, too.
        vram_bytes: the memory that one GPU must have, in bytes; more than 0 asks for a GPU.
        ram_bytes: the memory that the machine must have, in bytes.
        platforms: where it runs, as `sys.platform` calls them (``linux``, ``darwin``, ``win32``); empty: everywhere.
    """

    gpu: GpuVendor | None = None
    vram_bytes: int = 0
    ram_bytes: int = 0
    platforms: tuple[str, ...] = ()
