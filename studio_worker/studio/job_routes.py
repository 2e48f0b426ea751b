"""The admin's routes of jobs, and the signed links to results."""

from __future__ import annotations

import asyncio

from aiohttp import web

from studio_worker.clock import Clock
from studio_worker.studio.access import Access
from studio_worker.studio.answers import BadField, Conflict, NotFound, answer
from studio_worker.studio.blobs import Blobs
from studio_worker.studio.bodies import job_id_of, limit_parameter, read_json, text_parameter
from studio_worker.studio.events import Hub
from studio_worker.studio.guard import own_origin
from studio_worker.studio.job_json import job_from_json, job_to_json
from studio_worker.studio.links import ResultLinks
from studio_worker.studio.offers import Offers
from studio_worker.studio.peer import Roster
from studio_worker.studio.result_answers import file_answer, json_answer, picture_answer
from studio_worker.studio.settling import Settling
from studio_worker.studio.store.port import Store
from studio_worker.studio.store.rows import Job, JobState
from studio_worker.studio.timings import Limits, Timings


class JobRoutes:
    """`/jobs` and below."""

    def __init__(
        self,
        store: Store,
        blobs: Blobs,
        roster: Roster,
        hub: Hub,
        offers: Offers,
        settling: Settling,
        links: ResultLinks,
        access: Access,
        clock: Clock,
        timings: Timings,
        limits: Limits,
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._roster = roster
        self._hub = hub
        self._offers = offers
        self._settling = settling
        self._links = links
        self._access = access
        self._clock = clock
        self._timings = timings
        self._limits = limits

    async def add(self, request: web.Request) -> web.Response:
        """Handle `POST /jobs`: a line of jobs.jsonl; ``{jobId}``. 400 names the field, 409 a known id."""
        self._access.require_admin(request)
        body = await read_json(request, self._limits.job_bytes, self._timings.body_secs)
        job = await self._store.add_job(await job_from_json(body, self._store))
        self._hub.publish("job", jobId=job.id, state=job.state.value, attempts=0)
        self._offers.nudge()
        return answer({"jobId": job.id}, 201)

    async def list(self, request: web.Request) -> web.Response:
        """Handle `GET /jobs?state=&limit=&after=`: newest first; `after` is the last jobId already seen."""
        self._access.require_admin(request)
        text = text_parameter(request, "state")
        if text is not None and text not in JobState.__members__.values():
            raise BadField("state", f"must be one of {', '.join(JobState)}")
        after = text_parameter(request, "after")
        if after is not None and await self._store.job(after) is None:
            raise BadField("after", "there is no such job")
        jobs = await self._store.jobs(JobState(text) if text else None, limit_parameter(request), after)
        return answer([job_to_json(job, self._roster, own_origin(request)) for job in jobs])

    async def show(self, request: web.Request) -> web.Response:
        """Handle `GET /jobs/{job_id}`."""
        self._access.require_admin(request)
        return answer(job_to_json(await self._job(request), self._roster, own_origin(request)))

    async def result(self, request: web.Request) -> web.StreamResponse:
        """Handle `GET /jobs/{job_id}/result`: for the admin, or by a signed link. Ranges work."""
        job_id = job_id_of(request)
        if not self._links.opens(job_id, request.query, self._clock.now().timestamp()):
            self._access.require_admin(request)
        job = await self._job(request)
        if job.has_result:
            return json_answer(job.result)
        path = await asyncio.to_thread(self._blobs.path, job.blob) if job.blob else None
        if path is None:
            raise NotFound(f"job {job.id} has no result (it is {job.state.value})")
        return file_answer(path, job.id, job.media_type or "")

    async def preview(self, request: web.Request) -> web.Response:
        """Handle `GET /jobs/{job_id}/preview`: the latest small picture of a running job."""
        self._access.require_admin(request)
        job_id = job_id_of(request)
        holder = self._roster.holder(job_id)
        progress = holder.held[job_id].progress if holder else None
        if progress is None or progress.preview is None:
            raise NotFound(f"job {job_id} has no preview now")
        return picture_answer(progress.preview)

    async def cancel(self, request: web.Request) -> web.Response:
        """Handle `POST /jobs/{job_id}/cancel`, with an optional ``{reason}``; 409 where it is finished."""
        self._access.require_admin(request)
        job = await self._job(request)
        reason = "cancelled by the operator"
        if request.can_read_body:
            given = (await read_json(request, self._limits.json_bytes, self._timings.body_secs)).get("reason")
            if given is not None and not (isinstance(given, str) and len(given) <= 1_000):
                raise BadField("reason", "must be text of at most 1,000 characters")
            reason = given or reason
        cancelled = await self._settling.cancel(job.id, reason)
        if cancelled is None:
            now = await self._job(request)
            raise Conflict(f"job {job.id} is {now.state.value} already", now.state.value)
        return answer(job_to_json(cancelled, self._roster, own_origin(request)))

    async def retry(self, request: web.Request) -> web.Response:
        """Handle `POST /jobs/{job_id}/retry`: queue a finished job anew; 409 where it is not finished."""
        self._access.require_admin(request)
        job = await self._job(request)
        queued = await self._store.retry(job.id)
        if queued is None:
            raise Conflict(f"job {job.id} is not finished, so it cannot be queued again", job.state.value)
        if job.blob is not None:
            await asyncio.to_thread(self._blobs.delete, job.blob)
        self._hub.publish("job", jobId=job.id, state=queued.state.value, attempts=0)
        self._offers.nudge()
        return answer(job_to_json(queued, self._roster, own_origin(request)))

    async def _job(self, request: web.Request) -> Job:
        job_id = job_id_of(request)
        job = await self._store.job(job_id)
        if job is None:
            raise NotFound(f"there is no job {job_id}")
        return job
