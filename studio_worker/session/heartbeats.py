"""What the worker says of itself in hello and heartbeat, built anew each time (protocol sections 2, 3 and 7)."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from studio_worker.log import LogSink, logger
from studio_worker.session.counterparts import OfferDesk
from studio_worker.session.set_aside import SetAside
from studio_worker.wire.capabilities import Capabilities
from studio_worker.wire.frames import Heartbeat, Hello


class Heartbeats:
    """Builds the frames; lives as long as the worker, so that a pause is noticed across sessions.

    Args:
        capabilities: asked for every frame.
        desk: knows the current jobs, and whether the operator paused.
        set_aside: while it is shy of offers, so is the advert.
        logs: told when claiming is paused and resumed.
        health: the extension `health`'s object, asked where the studio listed it.
    """

    def __init__(
        self,
        capabilities: Callable[[], Capabilities],
        desk: OfferDesk,
        set_aside: SetAside,
        logs: LogSink,
        health: Callable[[], dict[str, Any] | None] | None = None,
    ) -> None:
        self._capabilities = capabilities
        self._desk = desk
        self._set_aside = set_aside
        self._logs = logs
        self._health = health
        self._was_paused = False

    def hello(self, token: str) -> Hello:
        """The first frame of a connection."""
        return Hello(auth_token=token, capabilities=self._advert(()))

    def summary(self) -> str:
        """What is advertised, in one line for the logs of both sides."""
        advert = self._advert(())
        kinds = ", ".join(advert.task_kinds) or "nothing"
        return (
            f"advertising {kinds} by {len(advert.supported_models)} model names, "
            f"{advert.vram_total_gb:.1f} GB of video memory, jobs up to {advert.vram_threshold_gb:.1f} GB"
            + ("" if advert.auto_enabled else ", paused")
        )

    def beat(self, extensions: Collection[str]) -> Heartbeat:
        """A heartbeat for a studio that listed these extensions."""
        desk = self._desk
        return Heartbeat(
            capabilities=self._advert(extensions),
            current_job_id=desk.current_job_id,
            current_job_ids=desk.current_job_ids if "capacity" in extensions else None,
            health=self._health() if self._health is not None and "health" in extensions else None,
        )

    def _advert(self, extensions: Collection[str]) -> Capabilities:
        self._note_pause()
        advert = self._capabilities()
        changes: dict[str, Any] = {}
        if self._desk.is_paused or self._set_aside.is_shy:
            changes["auto_enabled"] = False
        if "capacity" not in extensions:
            changes["max_concurrent_jobs"] = None
        return advert.model_copy(update=changes) if changes else advert

    def _note_pause(self) -> None:
        paused = self._desk.is_paused
        if paused is self._was_paused:
            return
        self._was_paused = paused
        line = (
            "claiming is paused: offers are rejected until it is resumed"
            if paused
            else "claiming is resumed: offers are taken again"
        )
        self._logs.add("info", "session", line)
        logger.bind(event="session.pause", paused=paused).info("The worker's claiming was paused or resumed")
