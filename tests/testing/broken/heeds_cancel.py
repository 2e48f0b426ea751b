"""Hears that it is cancelled, and tidies up for long."""

import time

from broken.good import Good


class Mine(Good):
    def make(self, job):
        if "hello" in job.task.messages[-1].content:
            for _ in range(30):
                time.sleep(0.01)
                if job.cancelled:
                    time.sleep(3)
        return super().make(job)


def make():
    return Mine()
