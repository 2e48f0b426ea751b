"""Prints a line a step, and takes many steps."""

from broken.good import Good


class Mine(Good):
    def make(self, job):
        for step in range(20_000):
            print(f"step {step} of 20000")
        return super().make(job)


def make():
    return Mine()
