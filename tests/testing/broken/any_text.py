"""Reads ASCII alone."""

from broken.good import Good


class Mine(Good):
    def answer(self, job):
        job.task.messages[-1].content.encode("ascii")
        return super().answer(job)


def make():
    return Mine()
