"""Writes over the picture that it was given."""

from broken.good import Good

from studio_worker import TaskKind


class Mine(Good):
    kinds = (TaskKind.IMAGE,)

    def paint(self, job):
        result = super().paint(job)
        with job.inputs["image"].open("ab") as file:
            file.write(b"mine")
        return result


def make():
    return Mine()
