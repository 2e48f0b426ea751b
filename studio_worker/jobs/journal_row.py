"""One row of the journal: what it holds of an accepted job, how it is written, and how it is read again."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum, auto
from typing import Any

from studio_worker.jobs.checksum import checksum_of
from studio_worker.jobs.results import Artifact, Entry, is_result_name
from studio_worker.wire.claims import Fingerprint, is_job_id
from studio_worker.wire.kinds import TaskKind
from studio_worker.wire.strict_json import NotJson, loads


class Stage(StrEnum):
    """How far a job is. Those up to `WAITING` are open: something is still owed."""

    ACCEPTED = auto()
    RUNNING = auto()
    """Its engine was about to start, or runs."""
    KEPT = auto()
    """Its result is safe and was not sent yet."""
    DELIVERING = auto()
    """Its result is being sent; nobody has said what became of it."""
    WAITING = auto()
    """Its result waits until the studio offers the job again."""
    DELIVERED = auto()
    FAILED = auto()
    DROPPED = auto()
    """It ended without a result that is owed: the studio has it, or wanted something else."""
    INTERRUPTED = auto()
    """The worker's process ended before its result was kept; the studio offers it again."""
    UNREADABLE = auto()
    """Its row or its file is damaged; the studio offers it again."""


STARTED = (Stage.ACCEPTED, Stage.RUNNING)
HELD = (Stage.KEPT, Stage.DELIVERING, Stage.WAITING)
"""The stages in which a result lies here that somebody is to get."""

COLUMNS = (
    *("origin", "worker_id", "job_id", "fingerprint", "stage", "kind", "model", "engine", "attempt", "deaths"),
    *("accepted_at", "kept_at", "settled_at", "prompt", "file", "size", "checksum", "ext", "meta", "json", "note"),
    "seal",
)
_KEY = COLUMNS[:4]

WRITE = (
    f"INSERT INTO jobs ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))}) "  # noqa: S608  # names of ours
    f"ON CONFLICT ({', '.join(_KEY)}) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in COLUMNS if name not in _KEY)
)
"""Writes a row as it is now, over what was there of it."""


@dataclass(slots=True, eq=False)
class Row:
    """A job as the journal knows it. Owned by the event loop, but for two fields that the database's thread fills in.

    Attributes:
        entry: the claim, with the attempt of the latest offer.
        worker_id: as whom the worker took it.
        accepted_at: seconds since the epoch, as are `kept_at` and `settled_at`.
        stage: how far it is.
        deaths: how often the worker's process ended while it had the job.
        file: the name of its result in the spool; empty for a JSON result.
        size: bytes of the result.
        checksum: of the file, or of the JSON text; by the database's thread where nobody knew it before.
        ext: of a binary result.
        meta: its `generationMeta` as JSON text.
        json: a JSON result as text.
        note: why it ended, where that needs a word.
        data: bytes whose checksum the database's thread works out beside the writing of their file.
        is_retired: whether the spool has its file back; asked and said by the database's thread alone.
    """

    entry: Entry
    worker_id: str
    accepted_at: float
    stage: Stage = Stage.ACCEPTED
    deaths: int = 0
    kept_at: float | None = None
    settled_at: float | None = None
    file: str = ""
    size: int = 0
    checksum: str = ""
    ext: str = ""
    meta: str = ""
    json: str = ""
    note: str = ""
    data: bytes | None = None
    is_retired: bool = False

    def settle(self, stage: Stage, now: float, note: str = "") -> None:
        """Nothing is owed any more: what was needed for the delivery alone goes."""
        self.stage, self.settled_at, self.note = stage, now, note
        self.meta = self.json = ""
        self.data = None

    def values(self, origin: str) -> list[Any]:
        """The row as it is now, in the order of `COLUMNS`, not sealed yet."""
        entry = self.entry
        prompt = "" if self.settled_at is not None else entry.prompt
        return [
            *(origin, self.worker_id, entry.job_id, entry.fingerprint, self.stage, entry.kind, entry.model),
            *(entry.engine, entry.attempt, self.deaths, self.accepted_at, self.kept_at, self.settled_at, prompt),
            *(self.file, self.size, self.checksum, self.ext, self.meta, self.json, self.note, ""),
        ]


_FINGERPRINT, _STAGE, _CHECKSUM, _JSON, _SEAL = (
    COLUMNS.index(name) for name in ("fingerprint", "stage", "checksum", "json", "seal")
)
_SEALED = tuple(
    COLUMNS.index(name)
    for name in (
        *(*_KEY, "kind", "model", "engine", "attempt", "prompt"),
        *("file", "size", "checksum", "ext", "meta", "json"),
    )
)


def finish(row: Row, values: list[Any]) -> list[Any]:
    """The values with everything that is worked out on the database's thread: fingerprint, checksum, seal."""
    mark = values[_FINGERPRINT]
    values[_FINGERPRINT] = mark.text if isinstance(mark, Fingerprint) else mark
    if values[_STAGE] in HELD:
        if not row.checksum:
            data = row.data if row.data is not None else values[_JSON].encode()
            row.checksum = checksum_of([data])
        values[_CHECKSUM] = row.checksum
        values[_SEAL] = seal(values)
    return values


def seal(values: Sequence[Any]) -> str:
    """A hash over everything that a delivery takes from a row: flipped bits are not sent to a studio."""
    summed = hashlib.sha256()
    for at in _SEALED:
        summed.update(str(values[at]).encode("utf-8", "surrogatepass") + b"\0")
    return summed.hexdigest()


class UnreadableRow(Exception):
    """A row, or what it points at, is not what was written."""


def read_row(found: sqlite3.Row, monotonic_at: float) -> Row:
    """The row of a held result, as it was.

    Args:
        found: all of `COLUMNS`.
        monotonic_at: when the job was accepted, on the monotonic clock of this process.

    Raises:
        UnreadableRow: something in it is damaged, or never was ours.
    """
    values = [found[name] for name in COLUMNS]
    if values[_SEAL] != seal(values) or not is_job_id(found["job_id"]):
        raise UnreadableRow("the row is not what was written")
    if found["file"] and not is_result_name(found["file"]):
        raise UnreadableRow("its file lies outside the spool")
    try:
        entry = Entry(
            job_id=found["job_id"],
            fingerprint=Fingerprint(text=found["fingerprint"]),
            kind=TaskKind(found["kind"]),
            model=found["model"],
            engine=found["engine"],
            prompt=found["prompt"],
            attempt=found["attempt"],
            accepted_at=monotonic_at,
        )
        stage = Stage(found["stage"])
    except ValueError as error:
        raise UnreadableRow(str(error)) from None
    names = ("deaths", "accepted_at", "kept_at", "file", "size", "checksum", "ext", "meta", "json", "note")
    return Row(entry, found["worker_id"], stage=stage, **{name: found[name] for name in names})


def artifact_of(row: Row, spool_file: Any) -> Artifact:
    """The result of a row.

    Args:
        row: of a held result.
        spool_file: the path of its file; not looked at for a JSON result.

    Raises:
        UnreadableRow: its JSON is none.
    """
    kind = row.entry.kind
    try:
        if row.file:
            meta = loads(row.meta.encode()) if row.meta else {}
            if not isinstance(meta, dict):
                raise UnreadableRow("its meta is no object")
            return Artifact(kind=kind, size=row.size, ext=row.ext, data=spool_file, meta=meta)
        value = loads(row.json.encode())
    except NotJson as error:
        raise UnreadableRow(str(error)) from None
    if not isinstance(value, dict):
        raise UnreadableRow("its result is no object")
    return Artifact(kind=kind, size=row.size, json=value, json_text=row.json)
