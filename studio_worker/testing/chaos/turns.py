"""Which jobs a fault strikes: decided by their number alone, so that a run can be played again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from random import Random
from typing import TypedDict

from studio_worker.testing.chaos.options import check_names, check_number, check_whole
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
        TypeError: there is no such option, or its value is of the wrong type.
        ValueError: more than one of every, on_job and chance is given, or one of them is out of its range.
    """

    def __init__(self, when: When) -> None:
        check_names(when, When.__annotations__)
        given = [name for name in ("every", "on_job", "chance") if name in when]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} are given: one of them says which jobs are struck")
        self._every = when.get("every", 1)
        self._chosen = _numbers(when["on_job"]) if "on_job" in when else None
        self._chance = when.get("chance")
        self._seed = when.get("seed", 0)
        check_whole("every", self._every, least=1)
        check_whole("seed", self._seed)
        if "chance" in when:
            check_number("chance", self._chance, most=1)
        path = when.get("tally")
        if path is not None and not isinstance(path, (str, Path)):
            raise TypeError(f"tally={path!r:.100}: the path of a file is needed")
        self.tally = Tally(path)

    def come(self) -> bool:
        """Count a job; whether it is struck."""
        number = self.tally.next()
        is_struck = self._is_struck(number)
        if is_struck:
            self.tally.strike(number)
        return is_struck

    def _is_struck(self, number: int) -> bool:
        if self._chosen is not None:
            return number in self._chosen
        if self._chance is not None:
            return Random(f"{self._seed} {number}").random() < self._chance  # noqa: S311  a draw to be repeated
        return number % self._every == 0


def _numbers(on_job: object) -> frozenset[int]:
    found = tuple(on_job) if isinstance(on_job, Iterable) and not isinstance(on_job, (str, bytes)) else (on_job,)
    for number in found:
        check_whole("on_job", number, least=1)
    return frozenset(found)
