"""Catches everything, a cancel too."""

import contextlib

from broken.good import Good


class Mine(Good):
    def run(self, job):
        with contextlib.suppress(BaseException):
            job.check_cancelled()
        return self.make(job)


def make():
    return Mine()
