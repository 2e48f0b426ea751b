"""Starts a thread for each job, and joins none."""

import threading

from broken.good import Good


class Mine(Good):
    def make(self, job):
        threading.Thread(target=threading.Event().wait, name="uploader", daemon=True).start()
        return super().make(job)


def make():
    return Mine()
