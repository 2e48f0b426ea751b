"""Keeps every model that it has ever loaded."""

from broken.good import Good

KEPT = []


class Mine(Good):
    def load(self, model):
        KEPT.append(b"\1" * 30_000_000)
        return super().load(model)


def make():
    return Mine()
