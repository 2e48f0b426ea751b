"""Draws from a source of its own instead of the job's seed."""

import os

from broken.good import Good


class Mine(Good):
    def words(self, job):
        return [os.urandom(4).hex()]


def make():
    return Mine()
