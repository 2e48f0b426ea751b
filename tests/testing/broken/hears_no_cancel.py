"""Never asks whether its job is cancelled, which takes a second."""

import time

from broken.good import Good


class Mine(Good):
    def run(self, job):
        time.sleep(1.2)
        return self.make(job)


def make():
    return Mine()
