"""What would become of a job's inputs, found out without asking anybody."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from studio_worker.errors import JobError
from studio_worker.fetch.data_urls import DataUrl
from studio_worker.fetch.guard import Guard, shown
from studio_worker.fetch.http import aim
from studio_worker.jobs.input_pictures import settle_pictures
from studio_worker.jobs.plan import Wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class InputOutlook:
    """What would become of one input.

    Attributes:
        wanted: as the task names it.
        state: ``here`` where the claim carries it, ``download``, or ``refused``.
        refusal: why it would be refused; None where it would not.
    """

    wanted: Wanted
    state: Literal["here", "download", "refused"]
    refusal: JobError | None = None

    @property
    def url(self) -> str:
        """Where it would come from, without what a log must not hold: of a ``data:`` URL its beginning alone."""
        return "data:" if self.wanted.url[:5].lower() == "data:" else shown(self.wanted.url)


def input_outlook(wanted: Sequence[Wanted], guard: Guard) -> tuple[InputOutlook, ...]:
    """An outlook an input, by the code that fetches inputs; looks into pictures that a claim carries: for a thread.

    No name is looked up and no server asked: what a name leads to, and what lies there, may be refused yet.

    Args:
        wanted: what the task names, no caller's own files among it.
        guard: the rules of this moment.
    """
    found: list[InputOutlook] = []
    carried: dict[str, bytes] = {}
    for item in wanted:
        try:
            aimed = aim(guard, item.url, limit_bytes=item.limit_bytes, what=item.field)
        except JobError as refusal:
            found.append(InputOutlook(wanted=item, state="refused", refusal=refusal))
            continue
        if isinstance(aimed, DataUrl):
            carried[item.role] = aimed.data
        found.append(InputOutlook(wanted=item, state="here" if isinstance(aimed, DataUrl) else "download"))
    if any(each.refusal for each in found):
        # A job looks into its pictures once all of them are there.
        return tuple(found)
    problem = _refusal(wanted, carried)
    return tuple(
        replace(each, state="refused", refusal=problem)
        if problem is not None and str(problem).startswith(f"{each.wanted.field}:")
        else each
        for each in found
    )


def _refusal(wanted: Sequence[Wanted], carried: Mapping[str, bytes]) -> JobError | None:
    """Why a job would not take the pictures that its claim carries, as far as they can be judged without the others."""
    there = [item for item in wanted if item.role in carried]
    if "image" not in carried and any(item.role == "image" for item in wanted):
        # Whether a mask fits shows only beside its picture.
        there = [item for item in there if item.role != "mask"]
    with TemporaryDirectory(prefix="studio-worker-explain-") as folder:
        files: dict[str, Path] = {item.role: Path(folder, f"input-{item.role}") for item in there}
        for role, path in files.items():
            path.write_bytes(carried[role])
        try:
            settle_pictures(there, files)
        except JobError as refusal:
            return refusal
    return None
