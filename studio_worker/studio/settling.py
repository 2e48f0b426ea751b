"""What workers say about jobs, and what it does to them: accept, reject, result, failure, cancel."""

from __future__ import annotations

import base64
import binascii

from studio_worker.clock import Clock, rfc3339
from studio_worker.log import logger
from studio_worker.studio.events import Hub
from studio_worker.studio.offers import Offers
from studio_worker.studio.patience import patiently
from studio_worker.studio.peer import TRANSIENT_TEXTS, Held, Peer, Progress, Roster
from studio_worker.studio.store.port import Store
from studio_worker.studio.store.rows import BlobOutcome, Job, JobState, JsonOutcome, Settled
from studio_worker.wire.frames import (
    Accept,
    CancelJob,
    CompleteAck,
    CompleteJson,
    Fail,
    FailAck,
    Reject,
    RejectCode,
)
from studio_worker.wire.frames import Progress as ProgressFrame
from studio_worker.wire.kinds import TaskKind
from studio_worker.wire.results import sniff_ext

MAX_ERROR = 10_000
"""Characters of an error that are kept."""

PREVIEW_TYPES = ("jpg", "webp", "png", "gif")


class Settling:
    """Moves jobs as their workers report. A frame about a job that the worker does not hold ends its session."""

    def __init__(
        self, store: Store, roster: Roster, hub: Hub, offers: Offers, clock: Clock, *, max_attempts: int
    ) -> None:
        self._store = store
        self._roster = roster
        self._hub = hub
        self._offers = offers
        self._clock = clock
        self._max_attempts = max_attempts

    def accept(self, peer: Peer, frame: Accept) -> None:
        """The worker takes its offer."""
        if peer.spend_overtaken(frame.job_id, frame.attempt):
            return
        held = self._held(peer, frame)
        if held is not None and held.accepted_at is None:
            held.accepted_at = rfc3339(self._clock.now())
            self._hub.publish("job", jobId=held.job_id, state="claimed", workerId=peer.worker_id)

    async def reject(self, peer: Peer, frame: Reject) -> None:
        """The worker turns its offer down: busy and paused count no attempt, anything else does."""
        held = self._held(peer, frame)
        if held is None:
            return
        if held.accepted_at is not None:
            peer.violate("reject of a job that was accepted")
            return
        if _is_transient(frame):
            peer.is_resting = True
            await patiently(self._clock, lambda: self._store.release(peer.worker_id, [held.job_id]))
            self._free(peer, held)
            self._hub.publish("job", jobId=held.job_id, state="queued")
            return
        peer.declined.add(held.job_id)
        await self._fail(peer, held, f"rejected: {frame.reason or frame.code or 'no reason given'}", retryable=True)
        self._free(peer, held)

    async def complete(self, peer: Peer, frame: CompleteJson) -> None:
        """A JSON result."""
        held = self._held(peer, frame)
        if held is None:
            return
        if held.cancelled_at is None:
            if held.kind not in (TaskKind.LLM, TaskKind.AUDIO_STT):
                await self._fail(peer, held, f"the worker sent JSON for a job of kind {held.kind}", retryable=True)
                peer.violate(f"completeJson for a job of kind {held.kind}")
                return
            outcome = JsonOutcome(result=frame.result, prompt=frame.prompt)
            if await self._finish(peer.worker_id, held.job_id, held.attempt, outcome, held.accepted_at) is None:
                job = await self._store.job(held.job_id)
                if job is None or job.state is not JobState.CANCELLED:
                    peer.violate("completeJson for a job that this worker does not hold")
                    return
        self._free(peer, held)
        peer.post(CompleteAck(job_id=held.job_id))

    async def fail(self, peer: Peer, frame: Fail) -> None:
        """A failure."""
        held = self._held(peer, frame)
        if held is None:
            return
        if held.cancelled_at is None:
            await self._fail(peer, held, frame.error, retryable=frame.retryable)
        self._free(peer, held)
        peer.post(FailAck(job_id=held.job_id))

    def progress(self, peer: Peer, frame: ProgressFrame) -> None:
        """How far a job is; about a job that is not held it is only late."""
        peer.knows_extensions = True
        held = peer.held.get(frame.job_id)
        if held is None:
            return
        preview = _picture(frame.preview)
        held.unnamed_beats = 0
        before = held.progress
        held.progress = Progress(
            frame.step,
            frame.total,
            frame.stage,
            preview or (before.preview if before else None),
            (before.version if before else 0) + (1 if preview else 0),
        )
        self._hub.publish(
            "progress",
            jobId=held.job_id,
            step=frame.step,
            total=frame.total,
            stage=frame.stage,
            preview=held.progress.version or None,
        )

    async def uploaded(
        self, worker_id: str, job_id: str, attempt: int | None, outcome: BlobOutcome
    ) -> tuple[Job | None, str]:
        """A binary result that lies in the blob folder: the job it finished, or None and the reason of the 409."""
        peer = self._roster.get(worker_id)
        held = peer.held.get(job_id) if peer else None
        started_at = held.accepted_at if held else None
        job = await self._finish(worker_id, job_id, attempt, outcome, started_at)
        if job is not None:
            if peer and held:
                self._free_by_upload(peer, held)
            return job, ""
        now = await self._store.job(job_id)
        reason = {JobState.DONE: "done", JobState.CANCELLED: "cancelled"}.get(now.state, "other") if now else "other"
        if now is None or now.state is not JobState.CLAIMED or now.worker_id != worker_id:
            self.let_go(worker_id, job_id)
        return None, reason

    def let_go(self, worker_id: str, job_id: str) -> None:
        """An upload was refused because its job is this worker's no more: its last word, if it took the offer.

        A job may be offered in the very moment in which an earlier upload finishes it. A worker that has yet to answer
        such an offer is waited for; one that has done the job again comes here with it.
        """
        peer = self._roster.get(worker_id)
        held = peer.held.get(job_id) if peer else None
        if peer and held and (held.cancelled_at is not None or held.accepted_at is not None):
            self._free_by_upload(peer, held)

    async def give_up(self, peer: Peer, held: Held, error: str) -> None:
        """End a claimed job that its worker will not end."""
        await self._fail(peer, held, error, retryable=False)
        self._free(peer, held)

    async def cancel(self, job_id: str, reason: str) -> Job | None:
        """Cancel a queued or claimed job; its claim keeps the worker's slot until one terminal message."""
        settled = await self._store.cancel(job_id, reason)
        if settled is None:
            return None
        peer = self._roster.holder(job_id)
        if peer is not None:
            peer.held[job_id].cancelled_at = self._clock.monotonic()
            if peer.knows_extensions:
                peer.post(CancelJob(job_id=job_id, reason=reason))
        self._tell(settled)
        return settled.job

    def _held(self, peer: Peer, frame: Accept | Reject | CompleteJson | Fail) -> Held | None:
        if frame.attempt is not None:
            peer.knows_extensions = True
        held = peer.held.get(frame.job_id)
        if held is None:
            peer.violate(f"{frame.type} for unknown jobId")
            return None
        if frame.attempt is not None and frame.attempt != held.attempt:
            peer.violate(f"{frame.type} of attempt {frame.attempt}, and the claim is attempt {held.attempt}")
            return None
        return held

    async def _finish(
        self,
        worker_id: str,
        job_id: str,
        attempt: int | None,
        outcome: JsonOutcome | BlobOutcome,
        started_at: str | None,
    ) -> Job | None:
        job = await patiently(
            self._clock, lambda: self._store.finish(job_id, worker_id, attempt, outcome, started_at), tries=3
        )
        if job is not None:
            logger.bind(event="studio.done", job_id=job_id, worker_id=worker_id).info("A job is done")
            self._hub.publish("job", jobId=job_id, state=job.state.value, workerId=worker_id, attempts=job.attempts)
            self._offers.nudge()
        return job

    async def _fail(self, peer: Peer, held: Held, error: str, *, retryable: bool) -> None:
        settled = await patiently(
            self._clock,
            lambda: self._store.fail(
                held.job_id,
                peer.worker_id,
                error[:MAX_ERROR],
                retryable=retryable,
                max_attempts=self._max_attempts,
            ),
        )
        if settled is None:
            return
        logger.bind(
            event="studio.failed",
            job_id=held.job_id,
            worker_id=peer.worker_id,
            state=settled.job.state.value,
            error=error,
        ).info("A job failed")
        self._tell(settled)

    def _tell(self, settled: Settled) -> None:
        job = settled.job
        self._hub.publish(
            "job", jobId=job.id, state=job.state.value, workerId=job.worker_id, attempts=job.attempts, error=job.error
        )
        for fallen in settled.fallen:
            self._hub.publish("job", jobId=fallen, state=JobState.FAILED.value)
        self._offers.nudge()

    def _free_by_upload(self, peer: Peer, held: Held) -> None:
        if held.accepted_at is None:
            peer.note_overtaken(held)
        self._free(peer, held)

    def _free(self, peer: Peer, held: Held) -> None:
        if peer.held.get(held.job_id) is held:
            del peer.held[held.job_id]
        self._hub.publish("worker", workerId=peer.worker_id)
        self._offers.nudge()


def _is_transient(frame: Reject) -> bool:
    if frame.code:
        return frame.code in (RejectCode.BUSY, RejectCode.PAUSED)
    return any(text in frame.reason for text in TRANSIENT_TEXTS)


def _picture(preview: str | None) -> bytes | None:
    """The bytes of a preview that is a picture; anything else is left out."""
    if preview is None:
        return None
    try:
        data = base64.b64decode(preview, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if sniff_ext(data[:64]) in PREVIEW_TYPES else None
