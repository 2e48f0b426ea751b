"""Keeps the job that it works on where another job finds it."""

import time

from broken.good import Good


class Mine(Good):
    def make(self, job):
        self.current = job.id
        if "hello" in job.task.messages[-1].content:
            time.sleep(0.05)
        if self.current != job.id:
            raise RuntimeError("the job changed under my hands")
        return super().make(job)


def make():
    return Mine()
