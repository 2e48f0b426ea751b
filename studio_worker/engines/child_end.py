"""How a child has ended, and what its jobs and the rest of the worker hear of that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from studio_worker.engines.child_process import ChildProcess
from studio_worker.errors import EngineError, OutOfMemory


class EndListener(Protocol):
    """Told on the loop how a child ends."""

    def died(self, model: str | None, why: str, *, has_begun: bool) -> None:
        """It died of itself, or was ended for hanging.

        Args:
            model: the model at work; None: no job ran.
            why: the end of a sentence of "it".
            has_begun: whether its engine had been built.
        """
        ...

    def gone(self) -> None:
        """Nothing is left of it, whatever ended it: its memory is free."""
        ...


class ChildEnd:
    """What is known of one child's end. Made before the child is started, in a thread.

    Args:
        oom_kills: how many processes the system has killed for their memory so far; asked in a thread.

    Attributes:
        ending: why the worker ends it; None where it ends of itself. The end of a sentence of "it".
        is_blamed: whether its engine is to blame where the worker ends it.
        refusal: why its engine could not be built.
        is_out_of_memory: whether the system has killed it for its memory.
    """

    def __init__(self, oom_kills: Callable[[], int | None]) -> None:
        self._oom_kills = oom_kills
        self._before = oom_kills()
        self.ending: str | None = None
        self.is_blamed = True
        self.refusal: str | None = None
        self.is_out_of_memory = False

    @property
    def is_death(self) -> bool:
        """Whether it speaks against the engine."""
        return self.refusal is None and (self.ending is None or self.is_blamed)

    def look(self) -> None:
        """See whether the system has killed processes for their memory since; for a child that was killed."""
        now = self._oom_kills()
        self.is_out_of_memory = now is not None and self._before is not None and now > self._before

    def why(self, process: ChildProcess, last_words: str) -> str:
        """The end of a sentence of "it"; with what it printed last where it ended of itself."""
        if self.ending is not None:
            return self.ending
        how = process.how_it_ended()
        if self.is_out_of_memory:
            how += ", by the system, which had no memory left"
        return f"{how}; it printed: {last_words}" if last_words else how

    def error(self, engine: str, why: str) -> EngineError:
        """What its jobs end with."""
        if self.refusal is not None:
            return EngineError(f"engine '{engine}' failed: {self.refusal}")
        if self.is_out_of_memory:
            return OutOfMemory(f"engine '{engine}' ran out of memory: {why}")
        return EngineError(f"the process of engine '{engine}' is gone: {why}")
