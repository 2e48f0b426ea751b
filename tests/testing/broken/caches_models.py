"""Has a cache of its own for models, small as they are, which unload() does not empty."""

from broken.good import Good

CACHE = {}


class Loaded(bytearray):
    """A model that can be told from others."""


class Mine(Good):
    def load(self, model):
        return CACHE.setdefault(model.id, Loaded(super().load(model)))

    def unload(self, loaded):
        pass


def make():
    return Mine()
