"""A small language model with random weights, written in milliseconds: it says nothing sensible."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}[{{ message.role }}]{{ message.content }}{% endfor %}"
    "{% if mood is defined %}({{ mood }}){% endif %}{% if add_generation_prompt %}[assistant]{% endif %}"
)
CONTEXT = 256


def write_gguf(
    path: Path,
    *,
    template: str | None = TEMPLATE,
    architecture: str = "llama",
    add_bos: bool = True,
    seed: int = 1,
    context: int = CONTEXT,
    layers: int = 1,
    words: Sequence[str] = (),
    extra: Callable[[Any], None] | None = None,
    tensors_a_part: int = 0,
) -> Path:
    """A small model that knows every byte and printable character, and says nothing sensible.

    With `tensors_a_part` it is split into files called ``<path's stem>-00001-of-00002.gguf`` and so on.
    """
    writer = gguf.GGUFWriter(str(path), architecture, split_max_tensors=tensors_a_part)
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{code:02X}>" for code in range(256))]
    kinds = [2, 3, 3, *[6] * 256]
    characters = ["▁", *(chr(code) for code in range(33, 127))]
    tokens += [*characters, *words]
    kinds += [1] * (len(characters) + len(words))
    width, heads = 32, 2
    writer.add_context_length(context)
    writer.add_embedding_length(width)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(64)
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(width // heads)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(add_bos)
    writer.add_add_space_prefix(False)
    if template is not None:
        writer.add_chat_template(template)
    if extra is not None:
        extra(writer)
    random = np.random.default_rng(seed)
    shapes = {"token_embd.weight": (len(tokens), width), "output.weight": (len(tokens), width)}
    norms = ["output_norm.weight"]
    for layer in range(layers):
        shapes |= {f"blk.{layer}.attn_{name}.weight": (width, width) for name in ("q", "k", "v", "output")}
        shapes |= {f"blk.{layer}.ffn_{name}.weight": (64, width) for name in ("gate", "up")}
        shapes[f"blk.{layer}.ffn_down.weight"] = (width, 64)
        norms += [f"blk.{layer}.{name}_norm.weight" for name in ("attn", "ffn")]
    for name, shape in shapes.items():
        writer.add_tensor(name, random.normal(0, 0.5, shape).astype(np.float32))
    for name in norms:
        writer.add_tensor(name, np.ones(width, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
