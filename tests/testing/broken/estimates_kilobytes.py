"""Takes bytes for kilobytes."""

from broken.good import Good

from studio_worker import Estimate


class Mine(Good):
    def estimate(self, model):
        return Estimate(ram_bytes=7_000_000_000 * 1024 * 1024)


def make():
    return Mine()
