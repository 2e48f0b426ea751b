"""The look into a model file before it gets its name: what a stranger sent must not reach a native parser unseen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from studio_worker.models.formats.gguf import check_gguf
from studio_worker.models.formats.onnx import check_onnx
from studio_worker.models.formats.pickles import check_pickles
from studio_worker.models.formats.safetensors import check_safetensors
from studio_worker.text import escape

_CHECKS: dict[str, Callable[[Path, str], None]] = {
    ".safetensors": check_safetensors,
    ".gguf": check_gguf,
    ".onnx": check_onnx,
}


def preflight(path: Path, name: str) -> None:
    """Judge the file at `path`, which is to be called `name`. Blocks; a file of many GB takes milliseconds.

    A pickle is refused whatever the name says; safetensors, GGUF and ONNX files must have a sound header. Files of
    other kinds pass: what reads them is the engine's business.

    Raises:
        BadModelFile: it must not be opened; the sentence says why.
        OSError: it cannot be read.
    """
    shown = escape(name, limit=100)
    check_pickles(path, shown)
    check = _CHECKS.get(Path(name).suffix.lower())
    if check is not None:
        check(path, shown)
