"""Does its jobs at once, without a word of progress, meta, or a question whether it is cancelled."""

from broken.good import Good


class Mine(Good):
    def run(self, job):
        return self.make(job)


def make():
    return Mine()
