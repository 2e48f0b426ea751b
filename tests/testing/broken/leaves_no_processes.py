"""Starts a process for each job, and waits for none."""

import subprocess
import sys

from broken.good import Good

KEPT = []


class Mine(Good):
    def make(self, job):
        KEPT.append(subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"]))
        return super().make(job)


def make():
    return Mine()
