from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from studio_worker_llama import LlamaEngine, studio_worker_engines
from studio_worker_llama.settings import DEFAULT_CONTEXT, Settings, read_settings
from studio_worker_llama.weights import context_tokens, find_weights, good_threads
from tiny_gguf import write_gguf

from studio_worker import EngineError, LoadOptions, ModelFiles, PluginConfig
from studio_worker.models.link_folders import link_folder


def refused(files: dict[str, list[Path]]) -> str:
    with pytest.raises(EngineError) as error:
        find_weights(files)
    assert not error.value.retryable
    return str(error.value)


def test_the_file_with_the_role_model_is_loaded_first(tiny: Path, gguf_file: Any, tmp_path: Path) -> None:
    other = gguf_file(tmp_path / "other.gguf")
    assert find_weights({"text-encoder": [other], "model": [tmp_path / "notes.txt", tiny]}).first == tiny
    assert find_weights({"diffusion-model": [other]}).first == other


def test_a_source_without_a_gguf_file_is_refused() -> None:
    assert "needs a .gguf file" in refused({"model": [Path("/m/model.safetensors")]})


def test_a_login_page_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_text("<html>Log in</html>")
    assert refused({"model": [tmp_path / "m.gguf"]}).startswith("m.gguf cannot be loaded: not a GGUF file")


def test_the_first_of_several_parts_is_loaded_whichever_is_named(gguf_file: Any, tmp_path: Path) -> None:
    parts = [gguf_file(tmp_path / f"m-{number:05}-of-00002.gguf") for number in (1, 2)]
    weights = find_weights({"model": [parts[1], parts[0]]})
    assert (weights.first, weights.parts) == (parts[0], tuple(parts))
    assert weights.size == sum(part.stat().st_size for part in parts)


def test_a_missing_part_is_named(gguf_file: Any, tmp_path: Path) -> None:
    part = gguf_file(tmp_path / "m-00001-of-00003.gguf")
    assert "m-00002-of-00003.gguf is not in the modelSource" in refused({"model": [part]})


def test_a_part_that_the_source_does_not_name_is_not_used_though_it_lies_there(gguf_file: Any, tmp_path: Path) -> None:
    """Nobody has hashed it, and a removal would not know that it is in use."""
    named, _ = (gguf_file(tmp_path / f"m-{number:05}-of-00002.gguf") for number in (1, 2))
    assert "m-00002-of-00002.gguf is not in the modelSource" in refused({"model": [named]})


def apart(tmp_path: Path) -> list[Path]:
    """A model in three parts, the second in a folder of its own, where the store puts it if its name is taken."""
    write_gguf(tmp_path / "m.gguf", tensors_a_part=5)
    first, second, third = sorted(tmp_path.glob("m-*-of-00003.gguf"))
    (tmp_path / "own").mkdir()
    moved = second.rename(tmp_path / "own" / second.name)
    second.write_bytes(b"another model's")
    return [first, moved, third]


def test_parts_that_lie_apart_are_loaded_from_the_folder_that_holds_them_all(tmp_path: Path) -> None:
    parts = apart(tmp_path)
    folder = link_folder(tmp_path / "links", "m", {part.name: part for part in parts})
    model = ModelFiles(id="m", files={"model": parts}, dir=folder)
    weights = find_weights(model.files, folder)
    assert (weights.first, weights.parts) == (folder / parts[0].name, tuple(parts))
    engine = LlamaEngine(Settings(threads=1, batch=32))
    assert engine.estimate(model).ram_bytes > sum(part.stat().st_size for part in parts)
    engine.unload(engine.load(model))


def test_parts_that_lie_apart_without_such_a_folder_are_refused(tmp_path: Path) -> None:
    assert "lie in several folders: move them into one" in refused({"model": apart(tmp_path)})


def test_a_number_of_parts_that_cannot_be_is_refused(gguf_file: Any, tmp_path: Path) -> None:
    assert "cannot be" in refused({"model": [gguf_file(tmp_path / "m-00001-of-00000.gguf")]})


@pytest.mark.parametrize(
    ("architecture", "extra", "problem"),
    [
        ("bert", None, "m.gguf is an embedding model (bert)"),
        ("nomic-bert", None, "an embedding model"),
        ("llama", lambda writer: writer.add_uint32("llama.pooling_type", 3), "an embedding model"),
        ("llama", lambda writer: writer.add_bool("llama.attention.causal", False), "an embedding model"),
        ("llama", lambda writer: writer.add_string("general.type", "adapter"), "a LoRA adapter"),
        ("llama", lambda writer: writer.add_string("general.type", "mmproj"), "a mmproj file, not a language model"),
        ("clip", None, "a clip file, not a language model"),
    ],
)
def test_what_cannot_answer_is_refused_by_what_it_is(
    gguf_file: Any, tmp_path: Path, architecture: str, extra: Any, problem: str
) -> None:
    path = gguf_file(tmp_path / "m.gguf", architecture=architecture, extra=extra)
    assert problem in refused({"model": [path]})


def test_an_estimate_counts_the_files_the_cache_and_the_buffers(tiny: Path) -> None:
    def estimate(context: int) -> int:
        model = ModelFiles(id="t", files={"model": [tiny]}, options=LoadOptions(context_size=context))
        return LlamaEngine().estimate(model).ram_bytes

    # One layer, two heads of 16 numbers each for keys and for values, two bytes a number.
    assert estimate(256) - estimate(128) == 128 * 2 * (16 + 16) * 2
    assert estimate(16) > tiny.stat().st_size + 512 * 354 * 4


def test_layers_on_the_gpu_are_estimated_there(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("studio_worker_llama.native.has_gpu_support", lambda: True)
    model = ModelFiles(id="t", files={"model": [tiny]})
    everything = LlamaEngine(Settings(gpu_layers=-1)).estimate(model)
    assert everything.vram_bytes == LlamaEngine().estimate(model).ram_bytes
    assert LlamaEngine().estimate(model).vram_bytes == 0
    assert everything.ram_bytes < everything.vram_bytes
    on_cuda = ModelFiles(id="t", files={"model": [tiny]}, options=LoadOptions(device="cuda:1"))
    assert LlamaEngine().estimate(on_cuda) == everything
    assert LlamaEngine(Settings(gpu_layers=0)).estimate(on_cuda).vram_bytes == 0


def test_a_library_without_gpus_is_estimated_in_ram(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("studio_worker_llama.native.has_gpu_support", lambda: False)
    model = ModelFiles(id="t", files={"model": [tiny]}, options=LoadOptions(device="cuda:0"))
    assert LlamaEngine(Settings(gpu_layers=-1)).estimate(model).vram_bytes == 0


@pytest.mark.parametrize(
    ("wanted", "trained", "tokens"),
    [
        (None, 32_768, DEFAULT_CONTEXT),
        (None, 2_048, 2_048),
        (16_384, 32_768, 16_384),
        (99_999, 4_096, 4_096),
        (None, 0, 8_192),
    ],
)
def test_the_context_follows_the_source_the_operator_and_the_training(
    wanted: int | None, trained: int, tokens: int
) -> None:
    assert context_tokens(wanted, trained, Settings()) == tokens


def test_the_operators_context_is_the_default() -> None:
    assert context_tokens(None, 32_768, Settings(context_size=1_024)) == 1_024


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (4, 4), (8, 4), (64, 32)])
def test_threads_are_all_of_a_few_cores_and_half_of_many(
    monkeypatch: pytest.MonkeyPatch, cores: int, threads: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)), raising=False)
    assert good_threads() == threads


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("gpu_layers", -2),
        ("gpu_layers", True),
        ("gpu_layers", "all"),
        ("context_size", 1),
        ("threads", -1),
        ("batch", 1),
        ("batch", 2.5),
        ("top_k", -1),
        ("min_p", 1.5),
        ("min_p", True),
        ("min_p", "much"),
        ("gpulayers", 1),
    ],
)
def test_a_wrong_setting_is_named(key: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"plugins\.llama\.{key} "):
        studio_worker_engines(PluginConfig({key: value}))


def test_settings_are_taken_as_they_are_given() -> None:
    table = {"gpu_layers": -1, "context_size": 4096, "threads": 3, "batch": 64, "top_k": 0, "min_p": 0}
    assert read_settings(table) == Settings(-1, 4096, 3, 64, 0, 0.0)
    assert read_settings({}) == Settings()


def test_an_engine_on_the_gpu_does_not_promise_the_same_bytes() -> None:
    assert LlamaEngine(Settings(gpu_layers=0)).deterministic
    assert not LlamaEngine().deterministic
    assert not LlamaEngine(Settings(gpu_layers=1)).deterministic
