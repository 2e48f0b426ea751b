"""Loses the spaces between the words of its stream."""

from broken.good import Streaming

from studio_worker import TextDelta


class Mine(Streaming):
    def stream(self, job):
        for word in self.words(job):
            yield TextDelta(text=word)
        yield self.run(job)


def make():
    return Mine()
