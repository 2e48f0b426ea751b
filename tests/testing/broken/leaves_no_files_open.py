"""Opens a file for each job, and closes none."""

import os

from broken.good import Good

KEPT = []


class Mine(Good):
    def make(self, job):
        KEPT.append(open(os.devnull, "rb"))  # noqa: SIM115
        return super().make(job)


def make():
    return Mine()
