from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from studio_worker_whisper.model import failure, load_model, model_files, place

from studio_worker import EngineError, LoadOptions, ModelFiles, OutOfMemory


def lay(model: ModelFiles, folder: Path, prefix: str = "", leave_out: str = "") -> ModelFiles:
    """The model's files as links in `folder`, under other names."""
    folder.mkdir(exist_ok=True)
    made = []
    for path in model.files["model"]:
        if path.name != leave_out:
            link = folder / f"{prefix}{path.name}"
            link.symlink_to(path)
            made.append(link)
    return replace(model, files={"model": made}, dir=folder)


def test_a_model_is_loaded_from_its_folder(model: ModelFiles) -> None:
    loaded = load_model(model, device=None, compute_type=None)
    assert (loaded.device, loaded.is_multilingual, loaded.languages) == ("cpu", False, ("en",))
    assert loaded.compute_type.startswith("int8")


def test_the_arithmetic_may_be_chosen(model: ModelFiles) -> None:
    assert load_model(model, device="cpu", compute_type="float32").compute_type == "float32"


def test_files_with_a_prefix_are_a_model_too(model: ModelFiles, tmp_path: Path) -> None:
    prefixed = lay(model, tmp_path / "models", "whisper-tiny.en-")
    assert load_model(prefixed, device=None, compute_type=None).languages == ("en",)
    assert min(path.name for path in (tmp_path / "models").iterdir()) == "whisper-tiny.en-config.json"


def test_files_that_lie_apart_are_a_model_too(model: ModelFiles, tmp_path: Path) -> None:
    first, *rest = lay(model, tmp_path / "one").files["model"]
    moved = tmp_path / "two"
    moved.mkdir()
    apart = ModelFiles(id="tiny.en", files={"model": [first.rename(moved / first.name)], "config": rest})
    assert load_model(apart, device=None, compute_type=None).languages == ("en",)


def test_files_are_known_by_name_whatever_their_role() -> None:
    paths = [Path(f"/m/{name}") for name in ("model.bin", "a-config.json", "b_tokenizer.json", "c.vocabulary.json")]
    assert model_files({"model": paths[:1], "config": paths[1:2], "tokenizer": paths[2:]}) == {
        "model.bin": paths[0],
        "config.json": paths[1],
        "tokenizer.json": paths[2],
        "vocabulary.json": paths[3],
    }


@pytest.mark.parametrize("gone", ["model.bin", "config.json", "tokenizer.json", "vocabulary.txt"])
def test_a_missing_file_is_named_and_nothing_is_downloaded(model: ModelFiles, tmp_path: Path, gone: str) -> None:
    with pytest.raises(EngineError, match=f"whisper needs {gone}") as error:
        load_model(lay(model, tmp_path / "models", leave_out=gone), device=None, compute_type=None)
    assert not error.value.retryable


@pytest.mark.parametrize("broken", ["model.bin", "tokenizer.json"])
@pytest.mark.parametrize("data", [b"", b"not a model at all"])
def test_a_broken_file_is_refused_for_good(model: ModelFiles, tmp_path: Path, broken: str, data: bytes) -> None:
    laid = lay(model, tmp_path / "models", leave_out=broken)
    (tmp_path / "models" / broken).write_bytes(data)
    files = {"model": [*laid.files["model"], tmp_path / "models" / broken]}
    with pytest.raises(EngineError, match=r"tiny\.en could not be loaded") as error:
        load_model(replace(laid, files=files), device=None, compute_type=None)
    assert not error.value.retryable


def test_an_unknown_arithmetic_is_refused(model: ModelFiles) -> None:
    with pytest.raises(EngineError, match="could not be loaded"):
        load_model(model, device=None, compute_type="int3")


def test_a_device_that_is_not_here_is_worth_another_worker(model: ModelFiles) -> None:
    ctranslate2 = pytest.importorskip("ctranslate2", reason="needs pip install ctranslate2")
    if ctranslate2.get_cuda_device_count():
        pytest.skip("there is a CUDA device here")
    with pytest.raises(EngineError) as error:
        load_model(model, device="cuda:0", compute_type=None)
    assert error.value.retryable


@pytest.mark.parametrize(
    ("device", "placed"),
    [
        (None, ("cpu", 0)),
        ("", ("cpu", 0)),
        ("cpu", ("cpu", 0)),
        ("vulkan:1", ("cpu", 0)),
        ("cuda", ("cuda", 0)),
        ("cuda:0", ("cuda", 0)),
        ("CUDA:2", ("cuda", 2)),
    ],
)
def test_a_device_is_what_ctranslate2_calls_it(device: str | None, placed: tuple[str, int]) -> None:
    assert place(device) == placed


@pytest.mark.parametrize("device", ["cuda:", "cuda:one", "cuda:-1", "cuda:1:2", "cuda:²", "cuda:9999"])
def test_a_device_without_a_number_is_refused_by_name(device: str) -> None:
    with pytest.raises(EngineError, match=rf"the device '{device}' has no number") as error:
        place(device)
    assert not error.value.retryable


@pytest.mark.parametrize(
    ("device", "asked"),
    [
        ("cuda:1", {"device": "cuda", "device_index": 1, "compute_type": "auto"}),
        ("cuda:0", {"device": "cuda", "device_index": 0, "compute_type": "auto"}),
        (None, {"device": "cpu", "device_index": 0, "compute_type": "int8"}),
    ],
)
def test_the_library_is_told_the_device_and_its_index(
    model: ModelFiles, monkeypatch: pytest.MonkeyPatch, device: str | None, asked: dict[str, Any]
) -> None:
    seen: dict[str, Any] = {}

    def refuse(folder: str, **given: Any) -> None:
        seen.update(given)
        raise RuntimeError("CUDA failed with error out of memory" if device else "no")

    monkeypatch.setattr("faster_whisper.WhisperModel", refuse)
    with pytest.raises(EngineError) as error:
        load_model(model, device=device, compute_type=None)
    assert {name: seen[name] for name in asked} == asked
    assert isinstance(error.value, OutOfMemory) is (device is not None)


@pytest.mark.parametrize("device", ["mps", "rocm", "cpu", ""])
def test_other_devices_mean_the_cpu(model: ModelFiles, device: str) -> None:
    options = LoadOptions(device=device, threads=1)
    assert load_model(replace(model, options=options), device=device, compute_type=None).device == "cpu"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RuntimeError("CUDA failed with error out of memory"), OutOfMemory),
        (MemoryError(), OutOfMemory),
        (RuntimeError("std::bad_alloc"), OutOfMemory),
        (RuntimeError("cuBLAS failed"), EngineError),
    ],
)
def test_out_of_memory_is_told_from_other_failures(error: Exception, kind: type[Any]) -> None:
    assert type(failure(error, "it failed", retryable=False)) is kind
