"""Whether a graph may be loaded: the worker's own look at what it refers to, in this engine's words."""

from __future__ import annotations

from pathlib import Path

from studio_worker import EngineError, ModelUnavailable, check_onnx


def check_file(path: Path) -> None:
    """Refuse a file that would make ONNX Runtime open another one, or that is none of its kind.

    Raises:
        EngineError: never worth another try, but for a file that cannot be read; the sentence names what it holds.
    """
    try:
        check_onnx(path, path.name)
    except ModelUnavailable as error:
        raise EngineError(str(error), retryable=False) from None
    except OSError as error:
        raise EngineError(f"{path.name} cannot be read: {error.strerror or error}") from error
