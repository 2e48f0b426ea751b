"""Where a graph runs: ONNX Runtime's execution providers, by what is installed and what was asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from studio_worker import EngineError

PROVIDERS: Mapping[str, str] = {
    "cuda": "CUDAExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "directml": "DmlExecutionProvider",
    "cpu": "CPUExecutionProvider",
}
"""Ours and ONNX Runtime's names, the one that is tried first first."""

_ALSO = {"dml": "directml", "mps": "coreml", "metal": "coreml"}


def choose(
    installed: Sequence[str], *, wanted: Sequence[str] | None = None, device: str | None = None
) -> list[tuple[str, dict[str, Any]]]:
    """The providers to load a model with, each with its options; the CPU is always the last.

    Args:
        installed: what this ONNX Runtime was built with, by its own names.
        wanted: the only ones to use, by our names, in this order; None for all.
        device: ``cpu``, ``cuda``, ``cuda:1``, ``directml:0``, ``coreml``. Where its provider is not installed, and
            for a device of another kind, the CPU takes its place.

    Raises:
        EngineError: none of those wanted is installed, or the device has no number.
    """
    usable = [name for name in wanted or PROVIDERS if PROVIDERS[name] in installed]
    if not usable:
        have = ", ".join(name for name, theirs in PROVIDERS.items() if theirs in installed) or "none"
        raise EngineError(
            f"plugins.onnx.providers asks for {', '.join(wanted or PROVIDERS)}, the installed onnxruntime has {have}",
            retryable=False,
        )
    index = 0
    if device is not None:
        kind, _, number = device.lower().partition(":")
        if number and not (number.isascii() and number.isdecimal() and len(number) < 4):
            raise EngineError(f"the device {device!r} has no number after its colon, as cuda:1 has", retryable=False)
        index = int(number or 0)
        usable = [name for name in usable if name == _ALSO.get(kind, kind)]
    options = {"device_id": index} if index else {}
    chosen = [(PROVIDERS[name], options if name in ("cuda", "directml") else {}) for name in usable if name != "cpu"]
    return [*chosen, (PROVIDERS["cpu"], {})]
