from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from studio_worker_onnx.providers import choose

from studio_worker import EngineError

CUDA, COREML, DML, CPU = (
    "CUDAExecutionProvider",
    "CoreMLExecutionProvider",
    "DmlExecutionProvider",
    "CPUExecutionProvider",
)
ALL = ["AzureExecutionProvider", CPU, DML, COREML, CUDA]


def names(installed: Sequence[str], **asked: Any) -> list[str]:
    return [name for name, _ in choose(installed, **asked)]


@pytest.mark.parametrize(
    ("installed", "expected"),
    [
        ([CPU], [CPU]),
        (["AzureExecutionProvider", CPU], [CPU]),
        ([CUDA, CPU], [CUDA, CPU]),
        (["TensorrtExecutionProvider", CUDA, CPU], [CUDA, CPU]),
        ([COREML, "AzureExecutionProvider", CPU], [COREML, CPU]),
        ([DML, CPU], [DML, CPU]),
        (ALL, [CUDA, COREML, DML, CPU]),
    ],
)
def test_what_is_installed_is_used_and_the_cpu_last(installed: list[str], expected: list[str]) -> None:
    assert names(installed) == expected


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        ("cpu", [CPU]),
        ("cuda", [CUDA, CPU]),
        ("CUDA:0", [CUDA, CPU]),
        ("coreml", [COREML, CPU]),
        ("mps", [COREML, CPU]),
        ("metal:0", [COREML, CPU]),
        ("directml", [DML, CPU]),
        ("dml:1", [DML, CPU]),
        ("vulkan:0", [CPU]),
    ],
)
def test_a_device_chooses_its_provider(device: str, expected: list[str]) -> None:
    assert names(ALL, device=device) == expected


def test_the_number_of_a_device_goes_to_its_provider() -> None:
    assert choose(ALL, device="cuda:1") == [(CUDA, {"device_id": 1}), (CPU, {})]
    assert choose(ALL, device="dml:2") == [(DML, {"device_id": 2}), (CPU, {})]
    assert choose(ALL, device="cuda:0") == [(CUDA, {}), (CPU, {})]
    assert choose(ALL, device="coreml:1") == [(COREML, {}), (CPU, {})]


def test_the_cpu_takes_the_place_of_a_device_without_a_provider() -> None:
    assert names([CPU], device="cuda:1") == [CPU]


def test_only_what_is_wanted_is_used_in_its_order() -> None:
    assert names(ALL, wanted=["directml", "cuda"]) == [DML, CUDA, CPU]
    assert names(ALL, wanted=["cpu"]) == [CPU]
    assert names(ALL, wanted=["cpu"], device="cuda") == [CPU]
    assert names([CPU], wanted=["cuda", "cpu"]) == [CPU]


def test_wanting_what_is_not_installed_is_refused_with_what_is() -> None:
    with pytest.raises(
        EngineError, match=r"asks for cuda, directml, the installed onnxruntime has coreml, cpu"
    ) as error:
        choose([COREML, CPU], wanted=["cuda", "directml"])
    assert not error.value.retryable


@pytest.mark.parametrize("device", ["cuda:one", "cuda:-1", "cuda:1:2", "cuda:9999", "cuda:²"])
def test_a_device_without_a_number_is_refused_by_name(device: str) -> None:
    with pytest.raises(EngineError, match=rf"the device '{device}' has no number"):
        choose(ALL, device=device)
