from __future__ import annotations

from pathlib import Path
from typing import Any

import llama_cpp as llama
import pytest
from studio_worker_llama import LlamaEngine
from studio_worker_llama.placing import Placement, place
from studio_worker_llama.settings import Settings

from studio_worker import EngineError, LoadOptions, ModelFiles


@pytest.mark.parametrize(
    ("device", "gpu_layers", "placement"),
    [
        (None, None, Placement()),
        ("", None, Placement()),
        (None, 0, Placement()),
        (None, 12, Placement(12)),
        (None, -1, Placement(-1)),
        ("cpu", -1, Placement()),
        ("CPU", None, Placement()),
        ("cuda:0", None, Placement(-1, 0)),
        ("CUDA:1", None, Placement(-1, 1)),
        ("cuda", None, Placement(-1, 0)),
        ("metal", None, Placement(-1, 0)),
        ("vulkan:2", 20, Placement(20, 2)),
        ("cuda:1", 0, Placement()),
    ],
)
def test_the_device_names_the_gpu_and_the_operator_the_layers(
    device: str | None, gpu_layers: int | None, placement: Placement
) -> None:
    assert place(device, gpu_layers, has_gpu_support=True) == placement
    assert placement.is_on_gpu is (placement.gpu_layers != 0)


@pytest.mark.parametrize("device", [None, "cpu", "cuda:1"])
@pytest.mark.parametrize("gpu_layers", [None, 0, -1])
def test_a_library_that_was_built_for_the_cpu_computes_there(device: str | None, gpu_layers: int | None) -> None:
    assert place(device, gpu_layers, has_gpu_support=False) == Placement()


@pytest.mark.parametrize("device", ["cuda:", "cuda:one", "cuda:-1", "cuda:1:2", "cuda:²", "cuda:1000"])
def test_a_device_without_a_number_is_refused_by_name(device: str) -> None:
    with pytest.raises(EngineError, match=rf"the device '{device}' has no number") as error:
        place(device, None, has_gpu_support=True)
    assert not error.value.retryable


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the library is asked to load with; it loads nothing."""
    seen: list[Any] = []
    monkeypatch.setattr("studio_worker_llama.native.has_gpu_support", lambda: True)
    monkeypatch.setattr(llama, "llama_model_load_from_file", lambda path, params: seen.append(params))
    return seen


@pytest.mark.parametrize(
    ("device", "gpu_layers", "layers", "gpu"),
    [
        ("cuda:1", None, 0x7FFFFFFF, (llama.LLAMA_SPLIT_MODE_NONE, 1)),
        ("cuda:0", 7, 7, (llama.LLAMA_SPLIT_MODE_NONE, 0)),
        (None, -1, 0x7FFFFFFF, (llama.LLAMA_SPLIT_MODE_LAYER, 0)),
        (None, None, 0, (llama.LLAMA_SPLIT_MODE_LAYER, 0)),
        ("cpu", -1, 0, (llama.LLAMA_SPLIT_MODE_LAYER, 0)),
    ],
)
def test_the_library_is_told_layers_and_gpu(
    asked: list[Any], tiny: Path, device: str | None, gpu_layers: int | None, layers: int, gpu: tuple[int, int]
) -> None:
    model = ModelFiles(id="t", files={"model": [tiny]}, options=LoadOptions(device=device))
    with pytest.raises(EngineError, match="could not be loaded") as error:
        LlamaEngine(Settings(gpu_layers=gpu_layers)).load(model)
    (params,) = asked
    assert params.n_gpu_layers == layers
    assert (params.split_mode, params.main_gpu) == gpu
    # A GPU may be free again later, or on another worker.
    assert error.value.retryable is (layers != 0)


def test_a_device_that_the_library_cannot_use_is_no_hindrance(
    engine: LlamaEngine, tiny: Path, job: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("studio_worker_llama.native.has_gpu_support", lambda: False)
    model = engine.load(ModelFiles(id="t", files={"model": [tiny]}, options=LoadOptions(device="cuda:3")))
    assert engine.run(job(model=model, max_tokens=3)).json["usage"]["completion_tokens"] >= 1
    engine.unload(model)


@pytest.mark.parametrize(("gpu_layers", "lends"), [(0, False), (-1, True)])
def test_a_model_on_the_cpu_is_lent_no_gpu(
    engine: LlamaEngine, tiny: Path, monkeypatch: pytest.MonkeyPatch, gpu_layers: int, lends: bool
) -> None:
    seen: list[Any] = []
    make = llama.llama_init_from_model
    monkeypatch.setattr("studio_worker_llama.native.has_gpu_support", lambda: True)
    monkeypatch.setattr(
        llama, "llama_init_from_model", lambda model, params: seen.append(params) or make(model, params)
    )
    LlamaEngine(Settings(gpu_layers=gpu_layers)).load(ModelFiles(id="t", files={"model": [tiny]})).close()
    assert [(params.offload_kqv, params.op_offload) for params in seen] == [(lends, lends)]
