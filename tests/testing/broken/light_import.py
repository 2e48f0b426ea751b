"""Imports a heavy library with its module."""

import onnxruntime  # noqa: F401
from broken.good import Good


def make():
    return Good()
