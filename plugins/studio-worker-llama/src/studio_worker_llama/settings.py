"""What the operator may set for this engine: the table ``[plugins.llama]``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

DEFAULT_CONTEXT = 8_192
"""Tokens of context where the source says nothing; the installed base of workers loads that many."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How models are loaded and sampled.

    Attributes:
        gpu_layers: layers that go to the GPU: 0 for none, -1 for all; None: all on a GPU that the worker's `device`
            names, none otherwise.
        context_size: tokens of context where the source names none; never more than the model was trained for.
        threads: the most CPU threads, within the engine's share of the cores; 0 for all of that.
        batch: prompt tokens that are read at once.
        top_k: choose among the so many likeliest tokens, 0 for all.
        min_p: leave out tokens less likely than this share of the likeliest.
    """

    gpu_layers: int | None = None
    context_size: int = DEFAULT_CONTEXT
    threads: int = 0
    batch: int = 512
    top_k: int = 40
    min_p: float = 0.05


_RANGES: Mapping[str, tuple[int, int]] = {
    "gpu_layers": (-1, 10_000),
    "context_size": (16, 16_777_216),
    "threads": (0, 1_024),
    "batch": (32, 8_192),
    "top_k": (0, 1_000_000),
}


def read_settings(table: Mapping[str, Any]) -> Settings:
    """The operator's table as settings.

    Raises:
        ValueError: a key is unknown or its value out of range; the sentence names the key.
    """
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key == "min_p":
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
                raise ValueError(f"plugins.llama.min_p must be a number from 0 to 1, not {value!r}")
            values[key] = float(value)
        elif key in _RANGES:
            low, high = _RANGES[key]
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise ValueError(f"plugins.llama.{key} must be a whole number from {low} to {high:,}, not {value!r}")
            values[key] = value
        else:
            raise ValueError(f"plugins.llama.{key} is no setting; there are {', '.join([*_RANGES, 'min_p'])}")
    return Settings(**values)
