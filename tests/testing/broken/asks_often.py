"""Breaks nothing: asks between its steps whether its job is cancelled."""

import time

from broken.good import Good


class Mine(Good):
    def run(self, job):
        for step in range(60):
            job.progress(step, 60)
            job.check_cancelled()
            time.sleep(0.01)
        return self.make(job)


def make():
    return Mine()
