"""Counts on beyond the end."""

from broken.good import Good


class Mine(Good):
    def make(self, job):
        job.progress(3, 2, stage="sample")
        return super().make(job)


def make():
    return Mine()
