"""Which of a claim's files is the model, what it is by its own words, and what it takes to load."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from studio_worker import EngineError, Estimate
from studio_worker_llama.gguf_header import BadHeader, GgufHeader, read_header
from studio_worker_llama.settings import Settings

_PART = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.gguf")
_ENCODERS = (
    "bert",
    "nomic-bert",
    "nomic-bert-moe",
    "neo-bert",
    "modern-bert",
    "jina-bert-v2",
    "jina-bert-v3",
    "t5encoder",
)
_WORKING_BYTES = 150_000_000


@dataclass(frozen=True, slots=True)
class Weights:
    """A model's files, found and looked at, not loaded.

    Attributes:
        first: the file to load; of several parts the first, in a folder that holds all of them.
        parts: all files, in order, where they lie.
        header: what the first says.
    """

    first: Path
    parts: tuple[Path, ...]
    header: GgufHeader

    @property
    def size(self) -> int:
        """Bytes of all parts."""
        return sum(part.stat().st_size for part in self.parts)

    @property
    def trained_context(self) -> int:
        """Tokens of context that the model was trained for, 0 where the file says none."""
        return self.header.number("context_length")


def find_weights(files: Mapping[str, list[Path]], folder: Path | None = None) -> Weights:
    """The model among a claim's files: the first ``.gguf`` with the role ``model``, else the first of any role.

    Of one that is split only files of the claim are parts, whatever else lies beside them: the others have not been
    hashed, nor does anybody know that they are in use.

    Args:
        files: role to paths.
        folder: holds all of them under their names (`ModelFiles.dir`), for parts that lie apart.

    Raises:
        EngineError: there is none, a part is missing, or it is no model that answers; never worth another try.
    """
    given = [*files.get("model", []), *(path for paths in files.values() for path in paths)]
    found = [path for path in given if path.name.lower().endswith(".gguf")]
    if not found:
        raise EngineError(
            "llama-cpp needs a .gguf file: add one with the role model to the modelSource", retryable=False
        )
    parts = _parts(found[0], found)
    try:
        header = read_header(parts[0])
    except BadHeader as error:
        raise EngineError(f"{parts[0].name} cannot be loaded: {error}", retryable=False) from error
    _check_kind(parts[0].name, header)
    return Weights(_first(parts, folder), parts, header)


def estimate_bytes(weights: Weights, context: int, batch: int, gpu_layers: int) -> Estimate:
    """What loading takes: the files, the key and value cache of the context at two bytes a number, the buffers.

    Args:
        weights: the model.
        context: tokens of context.
        batch: prompt tokens read at once.
        gpu_layers: layers on the GPU, -1 for all.
    """
    header = weights.header
    layers, heads = header.number("block_count"), header.number("attention.head_count", 1)
    width = header.number("embedding_length") // max(heads, 1)
    row = header.number("attention.key_length", width) + header.number("attention.value_length", width)
    cache = 2 * context * layers * header.number("attention.head_count_kv", heads) * row
    logits = 4 * batch * header.lengths.get("tokenizer.ggml.tokens", 0)
    total = weights.size + cache + logits + _WORKING_BYTES
    if not gpu_layers:
        return Estimate(ram_bytes=total)
    share = 1.0 if gpu_layers < 0 or not layers else min(1.0, gpu_layers / layers)
    on_gpu = int((total - _WORKING_BYTES) * share) + _WORKING_BYTES
    return Estimate(ram_bytes=total - on_gpu + _WORKING_BYTES, vram_bytes=on_gpu)


def context_tokens(wanted: int | None, trained: int, settings: Settings) -> int:
    """Tokens of context to load with: what the source wants, else the operator's default, at most the trained."""
    context = wanted or settings.context_size
    return min(context, trained) if trained else context


def good_threads() -> int:
    """CPU threads for this process: all of a few, half of many, since two threads a core gain nothing."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return usable if usable <= 4 else usable // 2


def _parts(path: Path, given: Sequence[Path]) -> tuple[Path, ...]:
    match = _PART.fullmatch(path.name)
    if match is None:
        return (path,)
    stem, _, total = match.groups()
    if not 0 < int(total) <= 1_000:
        raise EngineError(f"{path.name} says that it is one of {total} parts, which cannot be", retryable=False)
    named = {each.name: each for each in reversed(given)}
    names = [f"{stem}-{number:05}-of-{total}.gguf" for number in range(1, int(total) + 1)]
    missing = [name for name in names if name not in named]
    if missing:
        raise EngineError(
            f"{path.name} is one of {int(total)} parts and {missing[0]} is not in the modelSource: add all parts",
            retryable=False,
        )
    return tuple(named[name] for name in names)


def _first(parts: tuple[Path, ...], folder: Path | None) -> Path:
    """What to load: the library looks for the other parts beside it."""
    if len({part.parent for part in parts}) == 1:
        return parts[0]
    if folder is None:
        raise EngineError(f"the parts of {parts[0].name} lie in several folders: move them into one", retryable=False)
    return folder / parts[0].name


def _check_kind(name: str, header: GgufHeader) -> None:
    architecture, kind = header.architecture, header.text("general.type")
    if not architecture:
        raise EngineError(f"{name} does not say its general.architecture and cannot be loaded", retryable=False)
    if kind == "adapter":
        raise EngineError(f"{name} is a LoRA adapter, not a model: name the model that it belongs to", retryable=False)
    if kind in ("mmproj", "imatrix") or architecture == "clip":
        raise EngineError(f"{name} is a {kind or architecture} file, not a language model", retryable=False)
    is_causal = header.values.get(f"{architecture}.attention.causal", True)
    if architecture in _ENCODERS or is_causal is False or header.number("pooling_type") > 0:
        raise EngineError(
            f"{name} is an embedding model ({architecture}): it turns text into vectors and cannot answer; "
            "name a model that generates text",
            retryable=False,
        )
