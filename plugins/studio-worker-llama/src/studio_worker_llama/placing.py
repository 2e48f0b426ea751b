"""Where a model's layers go: to the CPU, or to one GPU or all of them, by what is asked and what the library can do."""

from __future__ import annotations

from dataclasses import dataclass

from studio_worker import EngineError

ALL_LAYERS = -1
"""Every layer of a model, in the operator's words."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where to load.

    Attributes:
        gpu_layers: layers on the GPU: 0 for none, -1 for all.
        gpu: the one GPU to use, counted from 0; None for all of them, each with its share of the layers.
    """

    gpu_layers: int = 0
    gpu: int | None = None

    @property
    def is_on_gpu(self) -> bool:
        """Whether any layer goes to a GPU."""
        return self.gpu_layers != 0


def place(device: str | None, gpu_layers: int | None, *, has_gpu_support: bool) -> Placement:
    """Where a model goes.

    Args:
        device: as the load options have it: ``cpu``; ``cuda:1``, ``vulkan:0``, ``metal``, for that GPU; None for
            wherever the operator's `gpu_layers` says.
        gpu_layers: the operator's; None: all on a GPU that a job names, none otherwise.
        has_gpu_support: whether the library was built for GPUs; the CPU takes the work otherwise.

    Raises:
        EngineError: the device has no number; never worth another try.
    """
    if not has_gpu_support:
        return Placement()
    if not device:
        return Placement(gpu_layers or 0)
    kind, colon, number = device.lower().partition(":")
    if kind == "cpu":
        return Placement()
    if colon and not (number.isascii() and number.isdecimal() and len(number) < 4):
        raise EngineError(f"the device {device!r} has no number after its colon, as cuda:1 has", retryable=False)
    layers = ALL_LAYERS if gpu_layers is None else gpu_layers
    return Placement(layers, int(number or 0)) if layers else Placement()
