"""Keeps two megabytes of each model that it loads, in what no weak reference shows."""

from broken.good import Good

KEPT = []


class Mine(Good):
    def load(self, model):
        KEPT.append(b"\1" * 2_500_000)
        return super().load(model)


def make():
    return Mine()
