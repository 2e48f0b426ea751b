"""What the engines serve, and how much of it is advertised while some of them rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from studio_worker.clock import Clock
from studio_worker.engines.description import EngineDescription
from studio_worker.engines.quarantine import Quarantine
from studio_worker.engines.restarts import Restarts
from studio_worker.engines.router import Routes
from studio_worker.log import logger


class RouteBook:
    """Two maps. An offer that was on its way when an engine died is found in the one, and answered as such.

    What rests comes back by itself: whoever looks at what is advertised sees it as it is now.

    Args:
        quarantine: what is left alone for a while.
        clock: time.

    Attributes:
        quarantine: what is left alone.
        served: what the engines serve, whatever rests.
    """

    def __init__(self, quarantine: Quarantine, clock: Clock) -> None:
        self.quarantine = quarantine
        self._clock = clock
        self._until: float | None = None
        self.served = self._advertised = Routes.build(())
        self._engines: tuple[EngineDescription, ...] = ()
        self._preferences: Mapping[str, str] = {}

    def draw(self, engines: Iterable[EngineDescription], preferences: Mapping[str, str]) -> None:
        """Draw both anew, from the engines in force."""
        self._engines, self._preferences = tuple(engines), preferences
        self.served = Routes.build(self._engines, preferences)
        self._advertise()

    @property
    def advertised(self) -> Routes:
        """What of it studios are told."""
        if self._until is not None and self._clock.monotonic() >= self._until:
            self._advertise()
        return self._advertised

    def died(self, engine: EngineDescription, model: str | None, why: str, restarts: Sequence[Restarts]) -> bool:
        """A process of `engine` has died; whether something rests since; the advert is without it then.

        Args:
            engine: whose process it was.
            model: what it loaded or ran.
            why: how it died.
            restarts: how it stands with the starts of the engine's processes.
        """
        rests = self.quarantine.rests(engine, restarts)
        is_left_alone = model is not None and self.quarantine.died(engine, model)
        if rests or is_left_alone:
            self._advertise()
        if not is_left_alone:
            return rests
        logger.bind(event="engine.quarantine", engine=engine.name, model=model, reason=why).error(
            "An engine keeps dying on a model, which is left alone for a while"
        )
        return True

    @property
    def rest_secs(self) -> float:
        """How long the first of what rests goes on resting; 0 where nothing does."""
        return 0.0 if self._until is None else max(0.0, self._until - self._clock.monotonic())

    @property
    def rest(self) -> str | None:
        """Why an engine rests, and until when; None where none does."""
        available = (each for each in self._engines if each.status == "available")
        return next(filter(None, map(self.quarantine.rest, available)), None)

    def _advertise(self) -> None:
        self._until = self.quarantine.next_release()
        self._advertised = Routes.build(self.quarantine.advertised(self._engines), self._preferences)
