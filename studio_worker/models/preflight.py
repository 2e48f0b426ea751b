"""The look into a model file before it gets its name: what a stranger sent must not reach a native parser unseen."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from studio_worker.models.formats.gguf import check_gguf
from studio_worker.models.formats.onnx import check_onnx
from studio_worker.models.formats.pickles import check_pickles
from studio_worker.models.formats.safetensors import check_safetensors
from studio_worker.text import escape

_CHECKS: dict[str, Callable[[Path, str], None]] = {
    ".safetensors": check_safetensors,
    ".gguf": check_gguf,
}


def preflight(path: Path, name: str, *, beside: Collection[str] | None = ()) -> None:
    """Judge the file at `path`, which is to be called `name`. Blocks; a file of many GB takes milliseconds.

    A pickle is refused whatever the name says; safetensors, GGUF and ONNX files must have a sound header. Files of
    other kinds pass: what reads them is the engine's business.

    Args:
        path: the file, under whatever name.
        name: what it is to be called, by which its kind is known.
        beside: names of the files that it may refer to, which are those of its model; None: nobody knows them, and any
            plain name will do.

    Raises:
        BadModelFile: it must not be opened; the sentence says why.
        OSError: it cannot be read.
    """
    shown = escape(name, limit=100)
    check_pickles(path, shown)
    suffix = Path(name).suffix.lower()
    if suffix == ".onnx":
        check_onnx(path, shown, beside=beside)
    elif suffix in _CHECKS:
        _CHECKS[suffix](path, shown)
