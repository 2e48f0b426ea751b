"""An engine around another one, which it leaves alone but for the jobs that are to be struck."""

from __future__ import annotations

import inspect
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any, Literal, TypeAlias

from studio_worker.engines.base import (
    DECLARED,
    AudioChunk,
    Available,
    Engine,
    EngineCapabilities,
    EngineJob,
    Estimate,
    TextDelta,
    Unavailable,
)
from studio_worker.engines.warm import loads_models
from studio_worker.engines.working import streams
from studio_worker.errors import EngineError
from studio_worker.models.files import ModelFiles
from studio_worker.testing.chaos.alone import Alone
from studio_worker.testing.chaos.options import check_engine, check_names, check_word
from studio_worker.testing.chaos.tally import Tally
from studio_worker.testing.chaos.turns import Turns, When

Stage: TypeAlias = Literal["run", "load"]

_CHILD = "studio_worker.engines.child"


class Fault(Engine):
    """Looks to the worker like the engine that it wraps: its name, sources, isolation and all.

    Args:
        engine: the engine to spoil; None for `Alone`.
        when: which jobs are struck.
        at: what is struck: a job's ``run``, or the ``load`` of a model, which then is what is counted.

    Raises:
        TypeError: there is no such option, or its value is of the wrong type.
        ValueError: an option's value is none that is allowed.
    """

    def __init__(self, engine: Engine | None, when: When, *, at: Stage = "run") -> None:
        check_engine(engine)
        check_names(when, self._options())
        check_word("at", at, Stage)
        self.engine = engine = Alone() if engine is None else engine
        for name in DECLARED:
            setattr(self, name, getattr(engine, name))
        self._at = at
        self._turns = Turns(when)
        # The host looks which of these an engine has of its own; the wrapped one decides.
        own = vars(self)
        is_async = inspect.iscoroutinefunction(engine.run)
        if is_async:
            own["run"] = self._run_on_loop
        if streams(engine):
            own["stream"] = self._stream_on_loop if is_async else self._stream
        if loads_models(engine) or at == "load":
            own["load"] = self._load

    @classmethod
    def _options(cls) -> list[str]:
        """The fault's own options, and those that say which jobs."""
        own = [name for name in inspect.signature(cls).parameters if name not in ("engine", "when")]
        return [*own, *When.__annotations__]

    @property
    def tally(self) -> Tally:
        """How many jobs came, and which were struck: a fault that never struck is a test that shows nothing."""
        return self._turns.tally

    def capabilities(self) -> EngineCapabilities:
        """Those of the engine."""
        return self.engine.capabilities()

    def availability(self) -> Available | Unavailable:
        """That of the engine."""
        return self.engine.availability()

    def unload(self, loaded: Any) -> None:
        """That of the engine."""
        self.engine.unload(loaded)

    def estimate(self, model: ModelFiles) -> Estimate | None:
        """That of the engine."""
        return self.engine.estimate(model)

    def run(self, job: EngineJob) -> Any:
        """The engine's run; of a job that is struck, what the fault makes of it."""
        if not self._is_struck():
            return self.engine.run(job)
        self.before(job)
        return self.after(job, self.engine.run(job))

    def before(self, job: EngineJob | None) -> None:
        """Strike ahead of the work; None is a model that is about to be loaded. For a thread."""

    async def before_on_loop(self, job: EngineJob) -> None:
        """`before` for an engine whose run is awaited on the event loop, which nothing here may block."""
        self.before(job)

    def each(self, job: EngineJob) -> None:
        """Strike at each piece of a stream. For a thread."""

    def after(self, job: EngineJob, result: Any) -> Any:
        """Strike after the work; what the worker is to get."""
        return result

    async def after_on_loop(self, job: EngineJob, result: Any) -> Any:
        """`after` on the event loop."""
        return self.after(job, result)

    def release(self) -> None:
        """Let go of everything that the fault holds in this process, so that a test can end."""

    def _is_struck(self) -> bool:
        return self._at == "run" and self._turns.come()

    def _load(self, model: ModelFiles) -> Any:
        if self._at == "load" and self._turns.come():
            self.before(None)
        return self.engine.load(model)

    async def _run_on_loop(self, job: EngineJob) -> Any:
        if not self._is_struck():
            return await self.engine.run(job)
        await self.before_on_loop(job)
        return await self.after_on_loop(job, await self.engine.run(job))

    def _stream(self, job: EngineJob) -> Iterator[Any]:
        pieces = self.engine.stream(job)
        assert isinstance(pieces, Iterator), "an engine whose run is not async streams by a plain generator"
        if not self._is_struck():
            yield from pieces
            return
        self.before(job)
        for piece in pieces:
            if is_piece(piece):
                self.each(job)
                yield piece
            else:
                yield self.after(job, piece)

    async def _stream_on_loop(self, job: EngineJob) -> AsyncIterator[Any]:
        pieces = self.engine.stream(job)
        assert isinstance(pieces, AsyncIterator), "an engine whose run is async streams by an async generator"
        is_struck = self._is_struck()
        if is_struck:
            await self.before_on_loop(job)
        async for piece in pieces:
            yield await self.after_on_loop(job, piece) if is_struck and not is_piece(piece) else piece


def is_piece(value: object) -> bool:
    """Whether an engine yielded a piece of a result, and not the result."""
    return isinstance(value, (TextDelta, AudioChunk))


def check_own_process(what: str) -> None:
    """Refuse what would harm more than an engine where this process is not an engine's own.

    Raises:
        EngineError: never retried; it says how an engine gets a process.
    """
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    if getattr(spec, "name", None) != _CHILD:
        raise EngineError(
            f"{what} would harm this whole process: give the engine as 'package.module:factory' "
            "(chaos.in_process writes one), so that it has a process of its own",
            retryable=False,
        )
