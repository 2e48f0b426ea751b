"""What an engine has unloaded, and whether somebody holds it still."""

from __future__ import annotations

import gc
import weakref


class UnloadedModels:
    """The objects that `load` returned and `unload` was given, by weak references: nothing is kept alive here."""

    def __init__(self) -> None:
        self._models: list[weakref.ref[object]] = []
        self.can_tell = False

    def add(self, loaded: object) -> None:
        """One more was unloaded. An object without weak references (None, a dict, a tuple) cannot be followed."""
        try:
            self._models.append(weakref.ref(loaded))
        except TypeError:
            return
        self.can_tell = True

    def count_kept(self) -> int:
        """How many of them are still there, each object once; cycles are collected first."""
        gc.collect()
        self._models = [model for model in self._models if model() is not None]
        return len({id(model()) for model in self._models})
