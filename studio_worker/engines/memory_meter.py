"""What a process holds for its model, measured from inside: its own RAM, and its share of a GPU's memory."""

from __future__ import annotations

import os

import psutil

from studio_worker.machine import gpu_bytes_of


class MemoryMeter:
    """Measures from its making on. For an engine's child, which keeps one model at a time.

    RAM counts from the built engine on, before anything is loaded: the libraries that `load` imports and what an
    allocator keeps are the model's too, since ending the process is what frees them. Pages of a mapped file count as
    they are touched, so a later look may find more.

    Args:
        device: the device that the process was given (``cuda:0`` …), None for none.
    """

    def __init__(self, device: str | None) -> None:
        kind, _, number = (device or "").partition(":")
        self._gpu = int(number) if kind == "cuda" and number.isdecimal() else None
        self._process = psutil.Process()
        self._before = self._process.memory_info().rss

    def read(self) -> tuple[int | None, int | None]:
        """Bytes of RAM and of the GPU; None for what cannot be known. May take milliseconds where there is a GPU."""
        try:
            ram = max(0, self._process.memory_info().rss - self._before)
        except psutil.Error:
            ram = None
        return ram, None if self._gpu is None else gpu_bytes_of(os.getpid(), self._gpu)
