"""Works in a process of its own only, and asks for a thread."""

import threading

from broken.good import Good


class Mine(Good):
    isolation = "thread"

    def make(self, job):
        if not any(thread.name == "orders" for thread in threading.enumerate()):
            raise RuntimeError("this is not my process")
        return super().make(job)


def make():
    return Mine()
