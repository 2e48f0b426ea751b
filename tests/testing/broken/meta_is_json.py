"""Notes what JSON cannot carry."""

from broken.good import Good


class Mine(Good):
    def make(self, job):
        job.meta["places"] = {1, 2, 3}
        return super().make(job)


def make():
    return Mine()
