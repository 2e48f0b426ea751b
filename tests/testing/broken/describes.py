"""Cannot be asked what it serves."""

from broken.good import Good


class Mine(Good):
    def capabilities(self):
        raise RuntimeError("no GPU found")


def make():
    return Mine()
