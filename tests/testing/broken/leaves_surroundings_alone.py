"""Goes to another folder and stays there."""

import os

from broken.good import Good


class Mine(Good):
    def make(self, job):
        os.chdir("/")
        return super().make(job)


def make():
    return Mine()
