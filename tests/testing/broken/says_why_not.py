"""Cannot run without a library, and names no remedy."""

from importlib.util import find_spec

from broken.good import Good

from studio_worker import Available, Unavailable


class Mine(Good):
    def availability(self):
        return Available() if find_spec("numpy") else Unavailable("numpy is missing")


def make():
    return Mine()
