"""Makes a temporary file for each job, and removes none."""

import tempfile

from broken.good import Good


class Mine(Good):
    def make(self, job):
        with tempfile.NamedTemporaryFile(suffix=".wav", delete=False) as file:
            file.write(b"sound")
        return super().make(job)


def make():
    return Mine()
