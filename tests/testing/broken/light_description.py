"""Imports a heavy library to say what it serves."""

from broken.good import Good


class Mine(Good):
    def capabilities(self):
        import onnxruntime  # noqa: F401

        return super().capabilities()


def make():
    return Mine()
