"""How far a local job is: a live bar where somebody looks on, a line for each stage elsewhere; on stderr."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from studio_worker.cli import output
from studio_worker.text import escape

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

DOWNLOAD = "download"
"""The stage whose steps are bytes."""

QUARTERS = 4
"""How often a line tells of one stage."""


class Display(Protocol):
    """Shows how far one job is."""

    def __enter__(self) -> Self:
        """Begin."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Clear away what would stand in the way of other lines."""
        ...

    def show(self, stage: str, step: int = 0, total: int = 0) -> None:
        """Take what goes on; without a total nobody knows how long it takes."""
        ...

    def hide(self) -> None:
        """Show nothing from now on: the result itself is being shown."""
        ...


class LineDisplay:
    """A line when a stage begins, and for each quarter of it."""

    def __init__(self) -> None:
        self._told: tuple[str, int] = ("", 0)
        self._is_hidden = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return

    def show(self, stage: str, step: int = 0, total: int = 0) -> None:
        """Take what goes on."""
        now = (stage, step * QUARTERS // total if total else 0)
        if now != self._told and not self._is_hidden:
            self._told = now
            output.note(f"{stage} {_count(stage, step, total)}".rstrip())

    def hide(self) -> None:
        """Show nothing from now on."""
        self._is_hidden = True


class BarDisplay:
    """One bar, which goes when the job has ended."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self._bars: Progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[count]}", markup=False),
            TimeElapsedColumn(),
            console=Console(stderr=True, markup=False),
            transient=True,
        )
        self._bar: TaskID = self._bars.add_task("", total=None, count="")
        self._is_hidden = False

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def show(self, stage: str, step: int = 0, total: int = 0) -> None:
        """Take what goes on."""
        if not self._is_hidden:
            count = _count(stage, step, total)
            said = escape(stage, limit=40)
            self._bars.update(self._bar, description=said, completed=step, total=total or None, count=count)

    def hide(self) -> None:
        """Show nothing from now on: text on stdout may go to the same screen."""
        if not self._is_hidden:
            self._is_hidden = True
            self._bars.stop()


def display() -> Display:
    """The display that fits stderr."""
    return BarDisplay() if output.has_live_stderr() else LineDisplay()


def _count(stage: str, step: int, total: int) -> str:
    if stage == DOWNLOAD and step:
        of = f" of {total / 1e6:,.1f}" if total else ""
        return f"{step / 1e6:,.1f}{of} MB"
    if not total:
        return ""
    return f"{step:,} of {total:,}"
