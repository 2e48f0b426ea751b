from __future__ import annotations

import struct
from pathlib import Path

import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from studio_worker.models.formats import onnx as onnx_module
from studio_worker.models.formats.onnx import check_onnx

from .judging import judged


def varint(number: int) -> bytes:
    out = bytearray()
    while True:
        number, low = number >> 7, number & 0x7F
        out.append(low | (0x80 if number else 0))
        if not number:
            return bytes(out)


def field(number: int, data: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(data)) + data


def graph(*, domain: str = "", weight: TensorProto | None = None) -> onnx.ModelProto:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    node = helper.make_node("Relu", ["x"], ["y"], domain=domain)
    made = helper.make_graph([node], "g", [value], [out], initializer=[weight] if weight is not None else [])
    return helper.make_model(made)


def elsewhere(location: str) -> TensorProto:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    for key, value in (("offset", "0"), ("location", location)):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    return tensor


SOUND = graph(weight=helper.make_tensor("w", TensorProto.FLOAT, [4], [1.0, 2.0, 3.0, 4.0])).SerializeToString()


@pytest.mark.parametrize(
    "data",
    [
        SOUND,
        graph(domain="com.microsoft").SerializeToString(),
        graph(weight=elsewhere("a.onnx.data")).SerializeToString(),
    ],
)
def test_a_sound_file_passes(tmp_path: Path, data: bytes) -> None:
    assert judged(check_onnx, tmp_path / "x", "a.onnx", data) == ("", "")


def test_functions_that_the_file_defines_itself_are_its_own(tmp_path: Path) -> None:
    model = graph(domain="mine")
    node = helper.make_node("Relu", ["x"], ["y"])
    model.functions.append(helper.make_function("mine", "Relu", ["x"], ["y"], [node], []))
    assert judged(check_onnx, tmp_path / "x", "a.onnx", model.SerializeToString()) == ("", "")


@pytest.mark.parametrize(
    "location", ["../../etc/passwd", "/etc/passwd", "a/b", "..\\x", "C:x", "", ".hidden", "a\0b", "nul"]
)
def test_weights_in_another_place_are_refused_by_its_name(tmp_path: Path, location: str) -> None:
    data = graph(weight=elsewhere(location)).SerializeToString()
    rule, said = judged(check_onnx, tmp_path / "x", "a.onnx", data)
    assert rule == "onnx"
    assert "its weights lie in" in said


def test_weights_that_hide_in_an_attribute_of_a_nested_graph_are_found(tmp_path: Path) -> None:
    inner = graph(weight=elsewhere("../x")).graph
    model = graph()
    model.graph.node.append(helper.make_node("If", ["x"], ["z"], then_branch=inner))
    assert "its weights lie in '../x'" in judged(check_onnx, tmp_path / "x", "a.onnx", model.SerializeToString())[1]


def test_a_second_copy_of_the_graph_hides_nothing(tmp_path: Path) -> None:
    data = SOUND + field(7, graph(weight=elsewhere("../x")).graph.SerializeToString())
    assert "its weights lie in" in judged(check_onnx, tmp_path / "x", "a.onnx", data)[1]


def test_operators_of_another_library_are_refused_by_its_name(tmp_path: Path) -> None:
    said = judged(check_onnx, tmp_path / "x", "a.onnx", graph(domain="evil.ops").SerializeToString())[1]
    assert "library of operators for the domain 'evil.ops'" in said


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "it is empty"),
        (b"\xff" * 100, "no protobuf"),
        (b"<html>", "no protobuf"),
        (b"\x08\x07", "holds no graph"),
        (field(7, b"")[:-1] + b"\x05", "goes on behind its end"),
        (b"\x3a" + varint(2**63), "goes on behind its end"),
        (b"\x0b\x0c", "no protobuf"),
        (b"\x3a\xff", "ends in the middle of a field"),
        (struct.pack("<4sIQQ", b"GGUF", 3, 0, 0), "no protobuf"),
    ],
)
def test_what_is_no_model_is_refused_with_the_reason(tmp_path: Path, data: bytes, problem: str) -> None:
    rule, said = judged(check_onnx, tmp_path / "x", "a.onnx", data)
    assert rule == "onnx"
    assert problem in said


def test_graphs_in_graphs_in_graphs_are_refused(tmp_path: Path) -> None:
    data = b""
    for _ in range(2_000):
        data = field(1, field(5, field(6, data)))
    assert "nests graphs too deeply" in judged(check_onnx, tmp_path / "x", "a.onnx", field(7, data))[1]


def test_more_fields_than_any_model_has_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_module, "MAX_FIELDS", 1_000)
    said = judged(check_onnx, tmp_path / "x", "a.onnx", field(7, b"\x08\x01" * 1_001))[1]
    assert "more fields than any model" in said


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_damaged_file_is_refused_or_passes_and_never_more(tmp_path: Path, data: st.DataObject) -> None:
    bytes_ = bytearray(graph(weight=elsewhere("a.data")).SerializeToString())
    for _ in range(data.draw(st.integers(1, 8))):
        bytes_[data.draw(st.integers(0, len(bytes_) - 1))] = data.draw(st.integers(0, 255))
    rule, _ = judged(check_onnx, tmp_path / "x", "a.onnx", bytes(bytes_[: data.draw(st.integers(0, len(bytes_)))]))
    assert rule in ("", "onnx")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300))
def test_any_bytes_in_a_graph_are_refused_or_pass_and_never_more(tmp_path: Path, inner: bytes) -> None:
    assert judged(check_onnx, tmp_path / "x", "a.onnx", field(7, inner))[0] in ("", "onnx")
