"""The child's side of an engine: builds it, runs its jobs in threads, keeps its model warm, answers questions.

The main thread builds the engine, since importing a library may want that one; a thread reads the pipe, so that a
cancel is heard whatever the engine does, and ends the process at the pipe's end.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, BinaryIO

from studio_worker.engines.base import AudioChunk, CancelFlag, Engine, EngineJob, TextDelta
from studio_worker.engines.failures import job_error, pack_error
from studio_worker.engines.framing import MAX_ORDER_BYTES, BrokenFrame, read_frame
from studio_worker.engines.job_watch import Held
from studio_worker.engines.job_wire import pack_result, unpack_job, unpack_model
from studio_worker.engines.loading import engine_at
from studio_worker.engines.messages import (
    Cancel,
    Done,
    Estimate,
    Estimated,
    Failed,
    Loaded,
    Open,
    Ready,
    Refused,
    Run,
    Started,
    Unload,
    Unloaded,
    read_down,
)
from studio_worker.engines.outbox import Outbox
from studio_worker.engines.self_report import said
from studio_worker.engines.threads import Crew
from studio_worker.engines.warm import WarmModel, loads_models
from studio_worker.engines.working import ChunkCallback, do_job
from studio_worker.errors import EngineError, JobError
from studio_worker.log import logger
from studio_worker.models.files import ModelFiles

if TYPE_CHECKING:
    from studio_worker.engines.memory_meter import MemoryMeter


class Serving:
    """Serves one engine.

    Args:
        opening: which engine.
        answers: the way up.
    """

    def __init__(self, opening: Open, answers: BinaryIO) -> None:
        self._opening = opening
        self._outbox = Outbox(answers)
        self._crew = Crew("run", opening.concurrency)
        # Questions do not wait for a run.
        self._aside = Crew("aside", 1)
        self._built = threading.Event()
        self._engine: Engine | None = None
        self._warm: WarmModel | None = None
        self._meter: MemoryMeter | None = None
        self._lock = threading.Lock()
        self._cancels: dict[int, CancelFlag] = {}

    def start(self, requests: BinaryIO, leave: Callable[[], None]) -> None:
        """Serve `requests` in threads from now on; `leave` is called at their end."""
        logger.remove()
        logger.add(self._outbox.log, level="DEBUG", format="{message}", catch=True)
        logger.enable("studio_worker")
        threading.Thread(target=self._listen, args=(requests, leave), name="orders", daemon=True).start()
        try:
            self._engine = engine_at(self._opening)
            if loads_models(self._engine):
                # It imports what an engine without a model does not need.
                from studio_worker.engines.memory_meter import MemoryMeter

                self._warm = WarmModel(self._engine)
                self._meter = MemoryMeter(self._opening.device)
        except BaseException as error:  # noqa: BLE001 - importing a plugin may raise anything
            self._outbox.send(Refused(said(error)))
            return
        self._outbox.send(Ready())
        self._built.set()

    def _listen(self, requests: BinaryIO, leave: Callable[[], None]) -> None:
        try:
            while (frame := read_frame(requests, limit=MAX_ORDER_BYTES)) is not None:
                match read_down(frame):
                    case Run() as order:
                        with self._lock:
                            cancel = self._cancels[order.run] = CancelFlag()
                        self._crew.submit(partial(self._run, order, cancel))
                    case Cancel(run):
                        with self._lock:
                            asked = self._cancels.get(run)
                        if asked is not None:
                            asked.set()
                    case Estimate() as question:
                        self._aside.submit(partial(self._estimate, question))
                    case Unload(call):
                        self._aside.submit(partial(self._unload, call))
        finally:
            leave()

    def _run(self, order: Run, cancel: CancelFlag) -> None:
        try:
            self._built.wait()
            self._outbox.send(Started(order.run, self._meter is not None))
            answer = self._worked(order, cancel)
            self._outbox.flush_progress(order.run)
        finally:
            with self._lock:
                del self._cancels[order.run]
        try:
            self._outbox.send(answer)
        except BrokenFrame as problem:
            failure = EngineError(f"engine '{self._opening.name}' returned too much: {problem}")
            self._outbox.send(Failed(order.run, *pack_error(failure)))

    def _worked(self, order: Run, cancel: CancelFlag) -> Done | Failed:
        name = self._opening.name
        try:
            job, model = self._job(order, cancel)
            chunk = self._chunks(order.run) if order.is_stream else None
            output = do_job(name, self._made, job, model, chunk)
            return Done(order.run, pack_result(output.result, job.work_dir, order.run), output.meta)
        except JobError as failure:
            return Failed(order.run, *pack_error(failure))
        except BaseException as error:  # noqa: BLE001 - a full disk, say; the run has an end, whatever it is
            problem = job_error(name, str(order.job.get("id")), error, was_asked_to_stop=cancel.is_set())
            return Failed(order.run, *pack_error(problem))

    def _job(self, order: Run, cancel: CancelFlag) -> tuple[EngineJob, ModelFiles]:
        log = logger.bind(engine_run=order.run)
        job, model = unpack_job(order.job, log)
        job._on_progress = partial(self._outbox.progress, order.run)  # noqa: SLF001 - the host's side of a job
        job._cancel = cancel  # noqa: SLF001
        if self._meter is not None:
            job._watch = _LoadWatch(self._outbox, order.run, self._meter)  # noqa: SLF001
        return job, model

    def _chunks(self, run: int) -> ChunkCallback:
        def send(piece: TextDelta | AudioChunk) -> None:
            self._outbox.chunk(run, piece)

        return send

    def _made(self) -> tuple[Engine, WarmModel | None]:
        assert self._engine is not None, "no run begins before the engine is built"
        return self._engine, self._warm

    def _estimate(self, question: Estimate) -> None:
        self._built.wait()
        engine, _ = self._made()
        try:
            estimate = engine.estimate(unpack_model(question.model))
            answer = (None, None) if estimate is None else (int(estimate.ram_bytes), int(estimate.vram_bytes))
        except BaseException as error:  # noqa: BLE001 - an engine's fault that ends no job
            logger.bind(event="engine.estimate", reason=said(error)).warning("An engine cannot say what a model takes")
            answer = (None, None)
        self._outbox.send(Estimated(question.call, *answer))

    def _unload(self, call: int) -> None:
        was_loaded = self._built.is_set() and self._warm is not None and self._warm.unload_if_idle()
        self._outbox.send(Unloaded(call, was_loaded))


class _LoadWatch:
    """Says up that the run's model is loaded; that it is taken was said before."""

    def __init__(self, outbox: Outbox, run: int, meter: MemoryMeter) -> None:
        self._outbox = outbox
        self._run = run
        self._meter = meter

    def taken(self) -> None:
        """Nothing is left to say."""

    def loaded(self, held: Held) -> None:
        """Say it; what is held is measured here."""
        self._outbox.send(Loaded(self._run, *self._meter.read()))
