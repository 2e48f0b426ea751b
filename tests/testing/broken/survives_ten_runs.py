"""Has enough of the same job after a while."""

from broken.good import Good

ENOUGH = 10


class Mine(Good):
    def __init__(self):
        self.last, self.count = None, 0

    def make(self, job):
        self.count = self.count + 1 if job.task == self.last else 1
        self.last = job.task
        if self.count == ENOUGH:
            self.count = 0
            raise RuntimeError("the pool is exhausted")
        return super().make(job)


def make():
    return Mine()
