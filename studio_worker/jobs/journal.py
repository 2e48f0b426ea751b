"""The worker's memory of what it owes: a seam with one promise a method, and the journal of a worker that owes nothing.

What a studio has to get lies in `studio_worker.jobs.kept_journal`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from studio_worker.jobs.journal_row import Stage
from studio_worker.jobs.results import Artifact, Entry, Kept
from studio_worker.jobs.settlement import Settlement
from studio_worker.wire.claims import Fingerprint


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why nothing can be written at the moment; no new jobs are taken meanwhile.

    Attributes:
        code: ``disk_full``, ``state_folder``, ``disk_hangs`` or ``journal``, as readiness has it.
        detail: a sentence for the operator.
    """

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Recalled:
    """A result that an earlier process of this worker has kept.

    Attributes:
        kept: the result.
        is_unsent: whether the studio has not yet said that the job is not ours: then it is sent unasked.
    """

    kept: Kept
    is_unsent: bool


class Journal(Protocol):
    """Knows every accepted job until somebody else does. All methods are called on the event loop."""

    @property
    def trouble(self) -> Trouble | None:
        """Why nothing can be written now; None while all is well."""
        ...

    @property
    def note(self) -> str:
        """What the operator should know although all goes on; empty where there is nothing."""
        ...

    async def open(self) -> None:
        """Make ready; called once, before anything else."""
        ...

    async def live(self) -> None:
        """Never return; raise what ends the journal's own work, without which it would only look alive."""
        ...

    async def recall(self, worker_id: str) -> Sequence[Recalled]:
        """The results that are still owed under this worker id, oldest first; jobs are taken under it from now on."""
        ...

    def refusal(self, job_id: str, mark: Fingerprint) -> str | None:
        """Why a job is not to be run here for a while: its runs have ended the process. None where it may run."""
        ...

    def accept(self, entry: Entry) -> None:
        """Promise: when this returns, the row of the job is on its way. Nobody waits for it."""
        ...

    def start(self, entry: Entry) -> None:
        """The job's engine starts here and now; the row of it is on its way."""
        ...

    async def committed(self, entry: Entry) -> None:
        """Promise: when this returns, it is safely written that the job's engine starts, or `trouble` says why not.

        Asked for before an engine's process starts.
        """
        ...

    async def keep(self, entry: Entry, artifact: Artifact) -> Kept:
        """Keep a result as safely as this journal keeps anything.

        A file is in the spool when this returns and its row committed. Bytes and their row are on their way there: both
        outlive a crash and a power loss when the result's `safe` is done, before which no studio is given all of it. A
        JSON result's row is on its way. Where the disk is full the result stays in memory until there is room, and
        where the row can't be written it waits: `trouble` says so, and the result is delivered all the same.

        Raises:
            OSError: the spool could not be written, for another reason than a lack of room.
        """
        ...

    def mark(self, kept: Kept, stage: Stage) -> None:
        """How far the delivery is: `Stage.DELIVERING` or `Stage.WAITING`."""
        ...

    def drop(self, entry: Entry, why: str = "") -> None:
        """The job ended without a result: nothing is owed any more."""
        ...

    def close(self, kept: Kept, settlement: Settlement) -> None:
        """The result is settled: what was needed for its delivery goes, and nobody waits for that."""
        ...

    async def aclose(self) -> None:
        """Finish what is on its way; called once, after everything else."""
        ...


class NoJournal:
    """The journal of a worker without a studio: its jobs are this process's own, and nothing of them outlives it."""

    trouble: Trouble | None = None
    note = ""

    async def open(self) -> None:
        """Nothing to make ready."""

    async def live(self) -> None:
        """Nothing that could end."""
        await asyncio.get_running_loop().create_future()

    async def recall(self, worker_id: str) -> Sequence[Recalled]:
        """Nothing."""
        return ()

    def refusal(self, job_id: str, mark: Fingerprint) -> str | None:
        """Nothing is refused."""
        return None

    def accept(self, entry: Entry) -> None:
        """Nothing to write."""

    def start(self, entry: Entry) -> None:
        """Nothing to write."""

    async def committed(self, entry: Entry) -> None:
        """Nothing to wait for."""

    async def keep(self, entry: Entry, artifact: Artifact) -> Kept:
        """A local caller has the result as soon as it is there; raises RuntimeError."""
        raise RuntimeError(f"job {entry.job_id} is a studio's, and this worker has none")

    def mark(self, kept: Kept, stage: Stage) -> None:
        """Nothing to write."""

    def drop(self, entry: Entry, why: str = "") -> None:
        """Nothing to forget."""

    def close(self, kept: Kept, settlement: Settlement) -> None:
        """Nothing to forget."""

    async def aclose(self) -> None:
        """Nothing to finish."""
