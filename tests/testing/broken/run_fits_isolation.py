"""Asks for the loop with a run that is not async."""

from broken.good import Good


class Mine(Good):
    isolation = "loop"


def make():
    return Mine()
