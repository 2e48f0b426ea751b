"""Which jobs a fault strikes: decided by their number alone, so that a run can be played again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import TypedDict

from studio_worker.testing.chaos.tally import Tally


class When(TypedDict, total=False):
    """Which jobs a fault strikes; at most one of the first three, and every job without any.

    Jobs are counted from 1 in the order in which the engine begins them.
    """

    every: int
    """Each n-th job."""

    on_job: int | Sequence[int]
    """The job of this number, or those of these numbers."""

    chance: float
    """That share of the jobs, from 0 to 1, drawn by `seed` and the job's number."""

    seed: int
    """What `chance` draws by; the same seed strikes the same numbers."""

    tally: Path | str
    """A file to count in, for an engine whose process may end: its count goes on in the next one."""


class Turns:
    """Counts jobs and says which are struck.

    Args:
        when: see `When`.

    Raises:
        ValueError: more than one of every, on_job and chance is given, or one of them is out of its range.
    """

    def __init__(self, when: When) -> None:
        given = [name for name in ("every", "on_job", "chance") if name in when]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} are given: one of them says which jobs are struck")
        self._every = when.get("every", 1)
        chosen = when.get("on_job", ())
        self._chosen = frozenset((chosen,) if isinstance(chosen, int) else chosen)
        self._chance = when.get("chance")
        self._seed = when.get("seed", 0)
        if self._every < 1 or any(number < 1 for number in self._chosen):
            raise ValueError("jobs are counted from 1: every and on_job need whole numbers of at least 1")
        if self._chance is not None and not 0 <= self._chance <= 1:
            raise ValueError("chance is a share of the jobs, from 0 to 1")
        self._has_chosen = "on_job" in when
        self.tally = Tally(when.get("tally"))

    def come(self) -> bool:
        """Count a job; whether it is struck."""
        number = self.tally.next()
        is_struck = self._is_struck(number)
        if is_struck:
            self.tally.strike(number)
        return is_struck

    def _is_struck(self, number: int) -> bool:
        if self._has_chosen:
            return number in self._chosen
        if self._chance is not None:
            return Random(f"{self._seed} {number}").random() < self._chance  # noqa: S311  a draw to be repeated
        return number % self._every == 0
