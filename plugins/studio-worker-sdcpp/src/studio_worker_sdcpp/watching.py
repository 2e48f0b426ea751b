"""What a running job tells: its steps, small pictures, and that it has been cancelled."""

from __future__ import annotations

from collections.abc import Callable

from PIL import Image

from studio_worker import EngineJob
from studio_worker_sdcpp.previews import Previews


class Watch:
    """Hands the library's steps on to a job.

    The library calls back while it reads LoRA files, for each step of sampling, and for each tile of a picture that is
    decoded in tiles. It cannot be stopped from there: a cancelled job ends when the library returns, or with its
    process.

    Args:
        job: who is told.
        steps: sampling steps that the order asks for; from a picture the library takes fewer.
        clock: seconds that only grow.
    """

    def __init__(self, job: EngineJob, steps: int, clock: Callable[[], float]) -> None:
        self._job = job
        self._steps = steps
        self._previews = Previews(clock)
        self._is_sampled = False

    def on_step(self, step: int, steps: int) -> None:
        """One step is done."""
        if self._is_sampled:
            self._job.progress(step, steps, stage="decode")
        elif steps <= self._steps:
            self._is_sampled = step >= steps
            self._job.progress(step, steps, stage="sample", preview=self._previews.take())

    def on_preview(self, picture: Image.Image) -> None:
        """What there is so far; it goes with the next step."""
        self._previews.show(picture)
