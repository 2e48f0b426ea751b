"""What a weight file is, by what it holds; its name is asked last.

stable-diffusion.cpp crashes on some files that are no weights, and reads pickled checkpoints with a parser of its own.
So only GGUF and safetensors are handed to it, and their first bytes decide.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any, BinaryIO

from studio_worker import EngineError

MAX_HEADER_BYTES = 100_000_000
"""The limit of the safetensors format itself."""

_GGUF = b"GGUF"
_GGUF_VERSIONS = (2, 3)
_GGUF_STRING = 8
_GGUF_FIXED = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_MAX_KEYS = 64
_MAX_TEXT = 65_535

_NO_ENCODER = ("", "sd", "pig", "clip")
"""Architectures that GGUF files of diffusion tools carry, whatever they hold."""


def check_weights(path: Path) -> None:
    """Refuse a file that is neither GGUF nor safetensors, or that has been cut.

    Raises:
        EngineError: never worth another try; names the file and what it starts with.
    """
    with path.open("rb") as file:
        head = file.read(8)
        if head[:4] == _GGUF:
            version = int.from_bytes(head[4:8], "little")
            if version not in _GGUF_VERSIONS:
                raise EngineError(f"{path.name} is GGUF version {version}, 2 and 3 are read", retryable=False)
            return
    header = _safetensors_header(path)
    if header is None:
        raise EngineError(
            f"{path.name} is neither GGUF nor safetensors, it starts with {head!r}; pickled checkpoints "
            "(.ckpt, .pt) are not loaded, convert them first",
            retryable=False,
        )
    end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
    if end > path.stat().st_size:
        raise EngineError(f"{path.name} is cut short: its header tells of more bytes than it has", retryable=False)


def encoder_slot(path: Path) -> str:
    """Which encoder of the library a file is: ``clip_l``, ``clip_g``, ``clip_vision``, ``t5xxl`` or ``llm``."""
    architecture = _gguf_architecture(path)
    if architecture is not None and architecture not in _NO_ENCODER:
        return "t5xxl" if "t5" in architecture else "llm"
    return _slot_by_tensors(_safetensors_header(path) or {}) or _slot_by_name(path.name.lower())


def _slot_by_tensors(header: dict[str, Any]) -> str | None:
    for name, entry in header.items():
        if name.endswith("text_model.embeddings.token_embedding.weight"):
            return "clip_g" if entry["shape"][-1:] == [1280] else "clip_l"
        if "encoder.block.0." in name:
            return "t5xxl"
        if "layers.0.self_attn.q_proj." in name and "text_model" not in name and "vision" not in name:
            return "llm"
    return "clip_vision" if any("vision_model." in name for name in header) else None


def _slot_by_name(name: str) -> str:
    for slot, marks in (
        ("t5xxl", ("t5",)),
        ("clip_vision", ("clip_vision", "clip-vision")),
        ("clip_g", ("clip_g", "clip-g", "bigg")),
        ("clip_l", ("clip_l", "clip-l", "clip_vit")),
    ):
        if any(mark in name for mark in marks):
            return slot
    return "llm"


def _safetensors_header(path: Path) -> dict[str, Any] | None:
    """Name to ``{dtype, shape, data_offsets}``, offsets counted from the file's start; None where it is none."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if not 2 <= size <= min(MAX_HEADER_BYTES, path.stat().st_size - 8) or file.read(1) != b"{":
            return None
        file.seek(8)
        try:
            header = json.loads(file.read(size))
            header.pop("__metadata__", None)
            return {str(name): _tensor(entry, 8 + size) for name, entry in header.items()}
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            return None


def _tensor(entry: Any, start: int) -> dict[str, list[int]]:
    first, end = entry["data_offsets"]
    return {
        "shape": [int(side) for side in entry["shape"]],
        "data_offsets": [int(first) + start, int(end) + start],
    }


def _gguf_architecture(path: Path) -> str | None:
    """``general.architecture``, which writers put first; empty where it is not found, None where it is no GGUF."""
    with path.open("rb") as file:
        if file.read(4) != _GGUF:
            return None
        try:
            _, _, count = struct.unpack("<IQQ", _exactly(file, 20))
            for _ in range(min(count, _MAX_KEYS)):
                key = _text(file)
                (kind,) = struct.unpack("<I", _exactly(file, 4))
                if kind == _GGUF_STRING:
                    value = _text(file)
                    if key == "general.architecture":
                        return value.lower()
                elif kind in _GGUF_FIXED:
                    _exactly(file, _GGUF_FIXED[kind])
                else:
                    return ""
        except (ValueError, struct.error):
            return ""
    return ""


def _text(file: BinaryIO) -> str:
    (size,) = struct.unpack("<Q", _exactly(file, 8))
    if size > _MAX_TEXT:
        raise ValueError("a long text")
    return _exactly(file, size).decode(errors="replace")


def _exactly(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) != size:
        raise ValueError("the file ends")
    return data
