"""Paints everything black."""

from broken.good import Good, png

from studio_worker import ImageResult, TaskKind


class Mine(Good):
    kinds = (TaskKind.IMAGE,)

    def paint(self, job):
        super().paint(job)
        return ImageResult(png(job.task.width, job.task.height, bytes(3)), "png")


def make():
    return Mine()
