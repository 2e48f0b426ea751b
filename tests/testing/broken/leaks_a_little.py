"""Keeps six megabytes of each job: less than the bound of all runs, and with every one of them."""

from broken.good import Good

KEPT = []


class Mine(Good):
    def make(self, job):
        KEPT.append(b"\1" * 6_000_000)
        return super().make(job)


def make():
    return Mine()
