"""The model that an engine keeps loaded between jobs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from studio_worker.engines.base import Engine
from studio_worker.engines.self_report import said
from studio_worker.log import logger
from studio_worker.models.files import ModelFiles
from studio_worker.models.identity import mark_of


def loads_models(engine: Engine) -> bool:
    """Whether the engine has a `load` of its own; without one there is nothing to keep."""
    return type(engine).load is not Engine.load or "load" in vars(engine)


class WarmModel:
    """Loads a model once, shares it between the jobs that use it at the same time, keeps the last one.

    Another model waits until the present one is in nobody's use, then takes its place; jobs that come for the
    present one after that wait too, so that nobody waits for ever. For threads; every method may block.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._changed = threading.Condition()
        self._key: str | None = None
        self._loaded: Any = None
        self._users = 0
        self._is_switching = False

    @property
    def is_busy(self) -> bool:
        """Whether a job uses the model, or one is being loaded or unloaded."""
        return self._users > 0 or self._is_switching

    @contextmanager
    def use(self, model: ModelFiles) -> Iterator[Any]:
        """What `load` returned for this model, loaded now if it isn't there; it stays until the block is left.

        Raises whatever `load` raises; then nothing is held.
        """
        loaded = self.take(model)
        try:
            yield loaded
        finally:
            self.give_back()

    def take(self, model: ModelFiles) -> Any:
        """`use` without the block: each take needs one `give_back`."""
        key = mark_of(model).identity
        with self._changed:
            self._changed.wait_for(lambda: not self._is_switching)
            if self._key == key:
                self._users += 1
                return self._loaded
            self._is_switching = True
            self._changed.wait_for(lambda: self._users == 0)
        try:
            self._drop()
            loaded = self._engine.load(model)
        except BaseException:
            with self._changed:
                self._is_switching = False
                self._changed.notify_all()
            raise
        with self._changed:
            self._key, self._loaded, self._users = key, loaded, 1
            self._is_switching = False
            self._changed.notify_all()
        return loaded

    def give_back(self) -> None:
        """The end of one use."""
        with self._changed:
            self._users -= 1
            self._changed.notify_all()

    def unload_if_idle(self) -> bool:
        """Unload what is held unless a job uses it; whether something was unloaded."""
        with self._changed:
            if self._users or self._is_switching or self._key is None:
                return False
            self._is_switching = True
        try:
            self._drop()
        finally:
            with self._changed:
                self._is_switching = False
                self._changed.notify_all()
        return True

    def _drop(self) -> None:
        """Unload what is held; an error there is logged, for the model is gone either way."""
        if self._key is None:
            return
        loaded, self._key, self._loaded = self._loaded, None, None
        try:
            self._engine.unload(loaded)
        except Exception as error:  # noqa: BLE001 - an engine's fault that ends no job
            logger.bind(event="engine.unload", engine=self._engine.name, reason=said(error)).warning(
                "An engine failed to unload a model"
            )
