"""Sleeps on everybody's loop."""

import time

from broken.good import OnLoop


class Mine(OnLoop):
    async def run(self, job):
        if "hello" in job.task.messages[-1].content:
            time.sleep(0.25)
        return await super().run(job)


def make():
    return Mine()
