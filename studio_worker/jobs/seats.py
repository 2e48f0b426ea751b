"""Who may run: the seats that engines' work takes, counted on the loop, without a lock or an await."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal


class Seat:
    """One place at an engine. Give it back with `leave`; a second `leave` does nothing."""

    __slots__ = ("_on_leave", "origin")

    def __init__(self, origin: Literal["studio", "local"], on_leave: Callable[[Seat], None]) -> None:
        self.origin = origin
        self._on_leave: Callable[[Seat], None] | None = on_leave

    def leave(self) -> None:
        """Give the seat back: the engine is idle, and the result is kept, handed over or was never there."""
        on_leave, self._on_leave = self._on_leave, None
        if on_leave is not None:
            on_leave(self)


class Seats:
    """The seats of a worker.

    A studio that doesn't list the extension `capacity` gets one job at a time, whatever the operator allowed; a
    local job takes a seat as a studio's does.

    Args:
        limit: how many jobs may run at once, asked each time (the operator may change it).
        on_free: called after a seat was given back.
    """

    def __init__(self, limit: Callable[[], int], on_free: Callable[[], None] = lambda: None) -> None:
        self._limit = limit
        self._on_free = on_free
        self._taken: set[Seat] = set()

    @property
    def taken(self) -> int:
        """Seats in use."""
        return len(self._taken)

    def slots(self, *, has_capacity: bool) -> int:
        """How many jobs a studio may have running here at once."""
        return max(1, self._limit()) if has_capacity else 1

    def take(self, origin: Literal["studio", "local"], *, has_capacity: bool) -> Seat | None:
        """A seat, or None where all are taken.

        Args:
            origin: whose job it is.
            has_capacity: whether the asker knows that several jobs may run here at once.
        """
        if len(self._taken) >= max(1, self._limit()):
            return None
        if not has_capacity and any(seat.origin == "studio" for seat in self._taken):
            return None
        seat = Seat(origin, self._free)
        self._taken.add(seat)
        return seat

    def _free(self, seat: Seat) -> None:
        self._taken.discard(seat)
        self._on_free()
