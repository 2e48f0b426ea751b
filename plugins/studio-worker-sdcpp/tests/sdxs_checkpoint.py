"""A real checkpoint without a download: the smallest architecture that stable-diffusion.cpp knows, with random weights.

`sdxs_tensors.json` names every tensor of SDXS_512_DS with its shape in GGUF's order, fastest dimension first; the
twelve layers of the text encoder are written once, as ``{}``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np

TEXT_LAYERS = 12
_LARGE = 100_000
_HERE = Path(__file__).parent


def tensors() -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name and shape of every tensor of the architecture."""
    for stem, leaves in json.loads((_HERE / "sdxs_tensors.json").read_text()).items():
        stems = [stem.format(layer) for layer in range(TEXT_LAYERS)] if "{}" in stem else [stem]
        for name in stems:
            for leaf, shape in leaves.items():
                yield f"{name}.{leaf}", tuple(shape)


def write_checkpoint(path: Path) -> None:
    """Write the whole checkpoint, 520 MB; the same bytes each time."""
    writer = gguf.GGUFWriter(path, "sd")
    random = np.random.default_rng(7)
    for name, shape in tensors():
        _add(writer, name, shape, random)
    _finish(writer)


def write_lora(path: Path, *, size: float = 0.2) -> None:
    """Write a LoRA that turns one attention of the checkpoint, `size` strong."""
    writer = gguf.GGUFWriter(path, "sd")
    random = np.random.default_rng(11)
    for block in (1, 2):
        for leaf in ("q", "k", "v"):
            stem = f"lora_unet_down_blocks_{block}_attentions_0_transformer_blocks_0_attn2_to_{leaf}"
            wide = {1: 640, 2: 1280}[block]
            for part, shape in (("up", (wide, 4)), ("down", (4, 768 if leaf != "q" else wide))):
                weights = random.standard_normal(shape, dtype=np.float32) * size
                writer.add_tensor(f"{stem}.lora_{part}.weight", weights.astype(np.float16))
    _finish(writer)


def _add(writer: gguf.GGUFWriter, name: str, shape: tuple[int, ...], random: Any) -> None:
    if len(shape) == 1:
        full = np.ones if name.endswith("weight") else np.zeros
        writer.add_tensor(name, full(shape, dtype=np.float32))
        return
    count, fan_in = math.prod(shape), math.prod(shape[:-1])
    if len(shape) == 2 and count > _LARGE and shape[0] % 32 == 0:
        writer.add_tensor(name, _q4_0(shape, fan_in, random), raw_dtype=gguf.GGMLQuantizationType.Q4_0)
        return
    weights = random.standard_normal(count, dtype=np.float32) * (0.5 / math.sqrt(fan_in))
    writer.add_tensor(name, weights.astype(np.float16).reshape(shape[::-1]))


def _q4_0(shape: tuple[int, ...], fan_in: int, random: Any) -> Any:
    """Random blocks as they lie in the file: a scale and 32 numbers from -8 to 7, which are 4.6 wide."""
    blocks = np.empty((math.prod(shape) // 32, 18), dtype=np.uint8)
    blocks[:, :2] = np.frombuffer(np.float16(0.5 / math.sqrt(fan_in) / 4.6).tobytes(), dtype=np.uint8)
    blocks[:, 2:] = random.integers(0, 256, (len(blocks), 16), dtype=np.uint8)
    return blocks.reshape(*shape[:0:-1], shape[0] // 32 * 18)


def _finish(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
