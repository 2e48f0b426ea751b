"""Makes PNG whatever is asked for, and calls it what was asked for."""

from dataclasses import replace

from broken.good import Good

from studio_worker import ImageTask, TaskKind


class Mine(Good):
    kinds = (TaskKind.IMAGE,)

    def paint(self, job):
        ext = job.task.ext
        fields = {name: getattr(job.task, name) for name in job.task.model_fields_set}
        job.task, asked = ImageTask.model_validate({**fields, "ext": "png"}), job.task
        result = super().paint(job)
        job.task = asked
        return replace(result, ext=ext)


def make():
    return Mine()
