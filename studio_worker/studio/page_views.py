"""What the dashboard shows, row by row, in words."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import quote

from studio_worker.clock import Clock
from studio_worker.studio.peer import Held, Peer, Roster
from studio_worker.studio.store.port import Store
from studio_worker.studio.store.rows import Job, JobState, Worker
from studio_worker.text import escape
from studio_worker.wire.strict_json import dumps_lossy
from studio_worker.wire.urls import PREFIX

KIND_WORDS = {"image": "picture", "llm": "text", "audio_stt": "transcript", "audio_tts": "speech", "video": "video"}
GLYPHS = {"image": "▦", "llm": "¶", "audio_stt": "✎", "audio_tts": "♪", "video": "▷"}
SHOWN_PENDING = 30
SHOWN_QUEUE = 30
SHOWN_RESULTS = 24
SHOWN_LOGS = 100
MAX_WORDS = 4_000


class PageViews:
    """Reads the store and the roster, and puts rows into words; each method fills one part."""

    def __init__(self, store: Store, roster: Roster, clock: Clock) -> None:
        self._store = store
        self._roster = roster
        self._clock = clock

    async def summary(self) -> dict[str, Any]:
        """How much of everything there is."""
        online = sum(peer.is_welcome for peer in self._roster.peers())
        return {"summary": {"workers": online, "counts": await self._store.counts()}}

    async def pending(self) -> dict[str, Any]:
        """Who waits for approval, the longest first; the rest come up as these are decided about."""
        waiting_ones = await self._store.pending(SHOWN_PENDING + 1)
        return {
            "has_more_pending": len(waiting_ones) > SHOWN_PENDING,
            "pending": [
                {
                    "request_id": waiting.id,
                    "name": _name(waiting.capabilities),
                    "username": escape(str(waiting.capabilities.get("username", "")), limit=80),
                    "vram": f"{waiting.capabilities.get('vramTotalGb', 0):g}",
                    "kinds": _kinds(waiting.capabilities),
                    "source_ip": waiting.source_ip,
                    "since": self._ago(waiting.requested_at),
                }
                for waiting in waiting_ones[:SHOWN_PENDING]
            ],
        }

    async def queue(self) -> dict[str, Any]:
        """What runs and what waits, in the order in which it is offered."""
        return {"queue": [self._waiting(job) for job in await self._store.waiting(SHOWN_QUEUE)]}

    async def results(self) -> dict[str, Any]:
        """What has come back, newest first."""
        return {"results": [_finished(job) for job in await self._store.finished(SHOWN_RESULTS)]}

    async def workers(self) -> dict[str, Any]:
        """All workers, those online first."""
        rows = [self._worker(worker, self._roster.get(worker.id)) for worker in await self._store.workers()]
        return {"workers": sorted(rows, key=lambda row: row["state"] == "offline")}

    async def models(self) -> dict[str, Any]:
        """The registry."""
        return {
            "models": [
                {
                    "id": model.id,
                    "kind": KIND_WORDS.get(model.kind, model.kind),
                    "engine": escape(model.engine, limit=80),
                    "vram": f"{model.vram_gb_estimate:g}",
                    "enabled": model.enabled,
                }
                for model in await self._store.models()
            ]
        }

    async def logs(self) -> dict[str, Any]:
        """The newest lines, newest first."""
        names = {worker.id: _name(worker.capabilities) for worker in await self._store.workers()}
        lines = await self._store.logs(None, None, None, SHOWN_LOGS)
        return {
            "logs": [
                {
                    "level": line.level,
                    "clock": line.at[11:19] or line.at,
                    "who": names.get(line.worker_id, "a removed worker"),
                    "message": line.message[:500],
                }
                for line in reversed(lines)
            ]
        }

    def _waiting(self, job: Job) -> dict[str, Any]:
        peer = self._roster.holder(job.id)
        held = peer.held[job.id] if peer else None
        progress = held.progress if held else None
        has_steps = progress is not None and progress.total > 0
        return {
            **_words(job),
            "state": job.state.value,
            "attempts": job.attempts,
            "error": escape(job.error) if job.error else "",
            "worker": _name(peer.capabilities.to_wire()) if peer else "",
            "preview": _preview(job, held),
            "step": min(progress.step, progress.total) if progress and has_steps else None,
            "total": progress.total if progress and has_steps else 1,
            "stage": escape(progress.stage, limit=80)
            if progress
            else ("started" if held and held.accepted_at else "offered"),
            "wait": "queued" if any(peer.could_take(job) for peer in self._roster.peers()) else "no worker serves it",
        }

    def _worker(self, worker: Worker, peer: Peer | None) -> dict[str, Any]:
        caps = peer.capabilities.to_wire() if peer and peer.is_welcome else worker.capabilities
        state = "offline"
        if peer and peer.is_welcome:
            state = "busy" if peer.held else "idle" if peer.capabilities.auto_enabled else "paused"
        health = peer.health if peer else None
        seen = (peer.last_heartbeat_at if peer else None) or worker.last_seen_at
        return {
            "id": worker.id,
            "name": _name(caps),
            "state": state,
            "vram": f"{caps.get('vramThresholdGb', 0):g}",
            "agent": escape(worker.user_agent or str(caps.get("agentVersion", "")), limit=80),
            "kinds": _kinds(caps),
            "slots": peer.slots if peer else 1,
            "jobs": list(peer.held) if peer else [],
            "seen": f"heard {self._ago(seen)}" if seen else "never connected",
            "trouble": escape(str(health.get("detail") or health.get("code") or "not ready"), limit=200)
            if health and health.get("ready") is False
            else "",
        }

    def _ago(self, moment: str) -> str:
        secs = (self._clock.now() - datetime.fromisoformat(moment)).total_seconds()
        if secs < 15:
            return "just now"
        for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
            if secs >= size:
                count = int(secs // size)
                return f"{count} {unit}{'' if count == 1 else 's'} ago"
        return f"{int(secs)} s ago"


def _words(job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "text": job.title,
        "kind": KIND_WORDS.get(job.kind, job.kind),
        "glyph": GLYPHS.get(job.kind, "•"),
        "model": escape(job.model, limit=200),
        "engine": escape(job.engine, limit=80),
    }


def _finished(job: Job) -> dict[str, Any]:
    family = (job.media_type or "").split("/")[0]
    shows = {"image": "picture", "audio": "sound", "video": "video"}.get(family, "file" if job.blob else "problem")
    return {
        **_words(job),
        "state": job.state.value,
        "shows": "words" if job.has_result else shows,
        "url": f"{PREFIX}/jobs/{quote(job.id, safe='')}/result?v={job.attempt}",
        "words": _answer(job.result) if job.has_result else "",
        "error": escape(job.error or job.state.value),
        "size": _size(job.blob_bytes) if job.blob_bytes is not None else "",
        "took": _took(job),
    }


def _answer(result: Any) -> str:
    """The words of a completion or a transcript; any other JSON as it is."""
    if isinstance(result, dict):
        if isinstance(result.get("text"), str):
            return str(result["text"]).strip()[:MAX_WORDS]
        try:
            content = result["choices"][0]["message"]["content"]
        except (KeyError, IndexError, TypeError):
            content = None
        if isinstance(content, str):
            return content.strip()[:MAX_WORDS]
    return dumps_lossy(result, indent=2)[:MAX_WORDS]


def _preview(job: Job, held: Held | None) -> str:
    if held is None or held.progress is None or held.progress.preview is None:
        return ""
    return f"{PREFIX}/jobs/{quote(job.id, safe='')}/preview?v={job.attempt}.{held.progress.version}"


def _name(capabilities: dict[str, Any]) -> str:
    return escape(str(capabilities.get("machineName") or "unnamed"), limit=80)


def _kinds(capabilities: dict[str, Any]) -> list[str]:
    kinds = capabilities.get("taskKinds") or []
    return [KIND_WORDS.get(str(kind), escape(str(kind), limit=40)) for kind in kinds[:12]]


def _size(size: int) -> str:
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= scale:
            return f"{size / scale:.1f}\N{NO-BREAK SPACE}{unit}"
    return f"{size}\N{NO-BREAK SPACE}bytes"


def _took(job: Job) -> str:
    if job.state is not JobState.DONE or not job.started_at or not job.finished_at:
        return job.state.value
    secs = (datetime.fromisoformat(job.finished_at) - datetime.fromisoformat(job.started_at)).total_seconds()
    return f"{secs:.1f}\N{NO-BREAK SPACE}s" if secs < 60 else f"{secs / 60:.0f}\N{NO-BREAK SPACE}min"
