"""``result:<id>`` inside a task: which job is meant, and the signed link that takes its place in the claim."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from studio_worker.studio.signing import Signer
from studio_worker.studio.store.rows import Job
from studio_worker.wire.urls import PREFIX

LINK_FIELDS = ("inputUrl", "initImageUrl", "maskUrl", "refImageUrl")
_MARK = "result:"
_PURPOSE = "result"


def needed_results(task: Mapping[str, Any]) -> dict[str, str]:
    """The fields of a raw task that mean another job's result, with that job's id."""
    return {
        name: value.removeprefix(_MARK)
        for name in LINK_FIELDS
        if isinstance(value := task.get(name), str) and value.startswith(_MARK)
    }


class ResultLinks:
    """Makes and checks links to results that need no token.

    Args:
        signer: the studio's.
        secs: how long a link is good for.
    """

    def __init__(self, signer: Signer, secs: float) -> None:
        self._signer = signer
        self._secs = secs

    def until(self, job: Job, now: float) -> int:
        """When the links in this job's claim expire.

        A job offered again keeps its links for as long as they last, so that the worker sees the same task
        and knows that it is the work that it has already begun.
        """
        if job.links_until is not None and job.links_until > now + self._secs / 4:
            return job.links_until
        return int(now + self._secs)

    def resolved(self, task: Mapping[str, Any], origin: str, until: int) -> dict[str, Any]:
        """The task as its claim carries it."""
        return {**task, **{name: self.link(job_id, origin, until) for name, job_id in needed_results(task).items()}}

    def link(self, job_id: str, origin: str, until: int) -> str:
        """A link to a job's result that is good until a moment (Unix seconds)."""
        signature = self._signer.sign(_PURPOSE, job_id, until)
        return f"{origin}{PREFIX}/jobs/{quote(job_id, safe='')}/result?until={until}&signature={signature}"

    def opens(self, job_id: str, query: Mapping[str, str], now: float) -> bool:
        """Whether a request's query is a link of ours to this result, in time."""
        return self._signer.holds(_PURPOSE, job_id, query.get("until", ""), query.get("signature", ""), now)
