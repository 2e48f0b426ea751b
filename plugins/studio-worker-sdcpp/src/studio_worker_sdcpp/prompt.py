"""Prompts with ``<lora:name:weight>`` in them.

A name is looked up among this claim's own files and is never made into a path, so that a prompt reaches no other file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from studio_worker import BadInput

MAX_WEIGHT = 10.0

_TAG = re.compile(r"<lora:([^<>]*)>", re.IGNORECASE)
_OPEN = re.compile(r"<lora:", re.IGNORECASE)
_HIGH_NOISE = "|high_noise|"


@dataclass(frozen=True, slots=True)
class Lora:
    """One LoRA to use; `is_high_noise` for the first of Wan's two models."""

    path: Path
    weight: float
    is_high_noise: bool = False


def take_loras(prompt: str, known: Mapping[str, Path]) -> tuple[str, tuple[Lora, ...]]:
    """The prompt without its LoRA tags, and the LoRAs that they name; weights of one file add up.

    Args:
        prompt: may hold ``<lora:name>`` (weight 1), ``<lora:name:0.8>``, ``<lora:|high_noise|name:1>``.
        known: the claim's LoRA files by name.

    Raises:
        BadInput: an unknown name, a weight that is no number from -10 to 10, a tag that does not end.
    """
    weights: dict[tuple[Path, bool], float] = {}
    for match in _TAG.finditer(prompt):
        name, _, weight = match[1].rpartition(":") if ":" in match[1] else (match[1], "", "1")
        is_high_noise = name.startswith(_HIGH_NOISE)
        key = (_named(name.removeprefix(_HIGH_NOISE).strip(), known), is_high_noise)
        weights[key] = weights.get(key, 0.0) + _number(weight, match[0])
    rest = _TAG.sub("", prompt)
    if _OPEN.search(rest):
        raise BadInput("task.prompt: a <lora: has no > after it; write <lora:name:weight>")
    return rest, tuple(Lora(path, weight, high) for (path, high), weight in weights.items())


def _named(name: str, known: Mapping[str, Path]) -> Path:
    if name in known:
        return known[name]
    names = ", ".join(sorted(name for name in known)) or "none"
    raise BadInput(f"task.prompt: the LoRA {name[:80]!r} is no file of this modelSource with the role lora: {names}")


def _number(text: str, tag: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = math.nan
    if not abs(weight) <= MAX_WEIGHT:
        raise BadInput(
            f"task.prompt: the weight of {tag[:80]!r} must be a number from -{MAX_WEIGHT:g} to {MAX_WEIGHT:g}"
        )
    return weight
