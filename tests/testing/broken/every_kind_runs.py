"""Fails the very job that it says it can do."""

from broken.good import Good


class Mine(Good):
    def make(self, job):
        raise KeyError("prompt")


def make():
    return Mine()
