"""Keeps what it has made."""

from broken.good import Good

KEPT = []


class Mine(Good):
    def make(self, job):
        KEPT.append(b"\1" * 12_000_000)
        return super().make(job)


def make():
    return Mine()
