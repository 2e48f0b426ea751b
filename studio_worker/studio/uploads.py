"""The upload route: a binary result from the worker that holds the job."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import web

from studio_worker.log import logger
from studio_worker.studio.access import bearer, check_hash
from studio_worker.studio.answers import RETRY_AFTER_SECS, Conflict, Refusal, answer
from studio_worker.studio.blobs import Blobs
from studio_worker.studio.bodies import job_id_of
from studio_worker.studio.settling import Settling
from studio_worker.studio.store.port import Store, StoreBusy
from studio_worker.studio.store.rows import BlobOutcome, Job, JobState
from studio_worker.studio.timings import Limits, Timings
from studio_worker.studio.upload_form import UploadForm, read_form
from studio_worker.wire import strict_json
from studio_worker.wire.results import media_type, sniff_ext

MAX_AT_ONCE = 4
"""Uploads for one job by one worker: those that were cut may be noticed late."""


class Uploads:
    """Takes results. What a client calls a file or its type is ignored: the studio names it, its bytes type it."""

    def __init__(self, store: Store, blobs: Blobs, settling: Settling, timings: Timings, limits: Limits) -> None:
        self._store = store
        self._blobs = blobs
        self._settling = settling
        self._timings = timings
        self._limits = limits
        self._under_way: Counter[tuple[str, str]] = Counter()

    async def complete(self, request: web.Request) -> web.Response:
        """Handle `POST /workers/{worker_id}/jobs/{job_id}/complete`.

        2xx: stored. 409 with `reason` done, cancelled or other: not this worker's job now. The job may also be
        queued again, where its last claim was this worker's.
        """
        worker_id = request.match_info["worker_id"]
        worker = await self._store.worker(worker_id)
        kept_hash = worker.token_hash if worker is not None and worker.deleted_at is None else None
        check_hash(bearer(request), kept_hash)
        job_id = job_id_of(request)
        try:
            _check_holder(await self._store.job(job_id), job_id, worker_id)
        except Conflict:
            self._settling.let_go(worker_id, job_id)
            raise
        with self._one_of_few(worker_id, job_id):
            return await self._take(request, worker_id, job_id)

    def is_under_way(self, worker_id: str, job_id: str) -> bool:
        """Whether an upload of this worker for this job is being read or stored."""
        return (worker_id, job_id) in self._under_way

    async def _take(self, request: web.Request, worker_id: str, job_id: str) -> web.Response:
        temp = await asyncio.to_thread(self._blobs.temp)
        try:
            try:
                async with asyncio.timeout(self._timings.upload_secs):
                    form = await read_form(request, temp, self._limits, self._timings.upload_idle_secs)
            except TimeoutError:
                raise Refusal(408, f"the upload took longer than {self._timings.upload_secs:g} s") from None
            attempt, meta = _attempt(form), _meta(form)
            blob = await asyncio.to_thread(self._blobs.keep, temp, job_id)
        finally:
            await asyncio.to_thread(temp.unlink, missing_ok=True)
        outcome = BlobOutcome(
            blob=blob,
            media_type=media_type(sniff_ext(form.head) or ""),
            blob_bytes=form.size,
            prompt=form.texts.get("prompt"),
            meta=meta,
        )
        await self._finish(worker_id, job_id, attempt, outcome)
        logger.bind(event="studio.upload", job_id=job_id, worker_id=worker_id, bytes=form.size).debug("Stored a result")
        return answer({"ok": True, "jobId": job_id, "bytes": form.size})

    async def _finish(self, worker_id: str, job_id: str, attempt: int | None, outcome: BlobOutcome) -> None:
        """Have the job done by this result; its file goes only where the database has said that no job holds it.

        A handler that is cancelled, as by a studio that stops, does not know: its transaction may be queued, and will
        be committed. What no job holds in the end is swept at the next start.
        """
        try:
            job, reason = await self._settling.uploaded(worker_id, job_id, attempt, outcome)
        except StoreBusy:
            await asyncio.to_thread(self._blobs.delete, outcome.blob)
            raise
        if job is None:
            await asyncio.to_thread(self._blobs.delete, outcome.blob)
            raise Conflict(f"job {job_id} is not this worker's now", reason)

    @contextmanager
    def _one_of_few(self, worker_id: str, job_id: str) -> Iterator[None]:
        """Each of them may fill a file of its own: a worker that has lost one makes another, and nobody needs many."""
        if self._under_way[worker_id, job_id] >= MAX_AT_ONCE:
            raise Refusal(
                429,
                f"{MAX_AT_ONCE} uploads for job {job_id} are under way: try again when one has ended",
                headers={"Retry-After": str(RETRY_AFTER_SECS)},
            )
        self._under_way[worker_id, job_id] += 1
        try:
            yield
        finally:
            self._under_way[worker_id, job_id] -= 1
            if not self._under_way[worker_id, job_id]:
                del self._under_way[worker_id, job_id]


def _check_holder(job: Job | None, job_id: str, worker_id: str) -> None:
    """Refuse before a byte is read; the database has the last word when all are."""
    if job is None:
        raise Refusal(404, f"there is no job {job_id}")
    if job.state is JobState.DONE:
        raise Conflict(f"job {job_id} is done", "done")
    if job.state is JobState.CANCELLED:
        raise Conflict(f"job {job_id} was cancelled", "cancelled")
    is_held = job.state is JobState.CLAIMED and job.worker_id == worker_id
    was_held = job.state is JobState.QUEUED and job.last_worker_id == worker_id
    if not (is_held or was_held):
        raise Conflict(f"job {job_id} is not this worker's now", "other")


def _attempt(form: UploadForm) -> int | None:
    text = form.texts.get("attempt", "").strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 7):
        raise Refusal(400, "attempt: must be a whole number", extra={"field": "attempt"})
    return int(text)


def _meta(form: UploadForm) -> dict[str, Any] | None:
    """The optional `generationMeta`; what is not an object of JSON is left out rather than lose a result."""
    text = form.texts.get("generationMeta")
    if not text:
        return None
    try:
        value = strict_json.loads(text)
    except strict_json.NotJson:
        return None
    return value if isinstance(value, dict) else None
