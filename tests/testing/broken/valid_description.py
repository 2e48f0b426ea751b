"""Wants a place to run that there is not."""

from broken.good import Good


class Mine(Good):
    isolation = "container"


def make():
    return Mine()
