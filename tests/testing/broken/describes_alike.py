"""Says another thing each time it is asked."""

import os

from broken.good import Good

from studio_worker import EngineCapabilities, TaskKind


class Mine(Good):
    def capabilities(self):
        return EngineCapabilities({TaskKind.LLM: [f"good-{os.urandom(4).hex()}"]})


def make():
    return Mine()
