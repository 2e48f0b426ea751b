from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from studio_worker_onnx import onnx_file
from studio_worker_onnx.onnx_file import MAX_NAME_BYTES, NotOnnx, check_file, read_outline

from studio_worker import EngineError
from studio_worker.models.formats.onnx import KNOWN_DOMAINS, MAX_FIELDS, check_onnx


def external(name: str = "weights", location: str = "../../etc/passwd") -> onnx.TensorProto:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    return tensor


def graph(*nodes: onnx.NodeProto, initializers: list[onnx.TensorProto] | None = None) -> onnx.GraphProto:
    port = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    return helper.make_graph([helper.make_node("Identity", ["x"], ["y"]), *nodes], "g", [port], [], initializers or [])


def constant(tensor: onnx.TensorProto) -> onnx.NodeProto:
    return helper.make_node("Constant", [], ["c"], value=tensor)


def sparse(tensor: onnx.TensorProto) -> onnx.NodeProto:
    made = onnx.SparseTensorProto(values=tensor, indices=numpy_helper.from_array(np.zeros(1, np.int64)), dims=[1])
    return helper.make_node("Constant", [], ["c"], sparse_value=made)


def in_a_branch(inner: onnx.GraphProto) -> onnx.NodeProto:
    return helper.make_node("If", ["x"], ["c"], then_branch=inner, else_branch=graph())


def in_a_function(node: onnx.NodeProto) -> onnx.ModelProto:
    function = helper.make_function("own", "F", ["x"], ["c"], [node], [helper.make_opsetid("", 17)])
    return helper.make_model(graph(helper.make_node("F", ["x"], ["c"], domain="own")), functions=[function])


def in_training(inner: onnx.GraphProto) -> onnx.ModelProto:
    model = helper.make_model(graph())
    model.training_info.add(algorithm=inner)
    return model


def written(path: Path, model: onnx.ModelProto) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


HIDING_PLACES = {
    "an initializer": helper.make_model(graph(initializers=[external()])),
    "an attribute": helper.make_model(graph(constant(external()))),
    "a sparse attribute": helper.make_model(graph(sparse(external()))),
    "a branch": helper.make_model(graph(in_a_branch(graph(initializers=[external()])))),
    "a branch of a branch": helper.make_model(graph(in_a_branch(graph(in_a_branch(graph(constant(external()))))))),
    "a function": in_a_function(constant(external())),
    "training": in_training(graph(initializers=[external()])),
}


@pytest.mark.parametrize("place", HIDING_PLACES)
def test_values_in_another_file_are_refused_wherever_they_hide(place: str, tmp_path: Path) -> None:
    path = written(tmp_path / "m.onnx", HIDING_PLACES[place])
    with pytest.raises(EngineError, match=r"^m\.onnx keeps the tensor 'weights' in another file") as error:
        check_file(path)
    assert not error.value.retryable


def test_a_sparse_initializer_in_another_file_is_refused(tmp_path: Path) -> None:
    inner = graph()
    inner.sparse_initializer.add(values=external(), dims=[1])
    with pytest.raises(EngineError, match="in another file"):
        check_file(written(tmp_path / "m.onnx", helper.make_model(inner)))


@pytest.mark.parametrize("hidden", ["location", "entry"])
def test_either_mark_of_another_file_is_enough(hidden: str, tmp_path: Path) -> None:
    tensor = external()
    if hidden == "location":
        del tensor.external_data[:]
    else:
        tensor.data_location = TensorProto.DEFAULT
    with pytest.raises(EngineError, match="in another file"):
        check_file(written(tmp_path / "m.onnx", helper.make_model(graph(initializers=[tensor]))))


def test_a_second_copy_of_the_graph_field_hides_nothing(tmp_path: Path) -> None:
    first = helper.make_model(graph()).SerializeToString()
    second = onnx.ModelProto(graph=graph(initializers=[external()])).SerializeToString()
    path = tmp_path / "m.onnx"
    path.write_bytes(first + second)
    assert onnx.load_model(path, load_external_data=False).graph.initializer[0].name == "weights"
    with pytest.raises(EngineError, match="in another file"):
        check_file(path)


def test_a_model_saved_with_its_weights_beside_it_is_refused_though_they_are_there(
    make_graph: Any, tmp_path: Path
) -> None:
    model = onnx.load_model(make_graph(layers=1))
    onnx.save_model(model, tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    assert (tmp_path / "m.data").is_file()
    with pytest.raises(EngineError, match="save it with its weights inside"):
        check_file(tmp_path / "m.onnx")


def test_operators_of_another_library_are_refused_by_its_name(tmp_path: Path) -> None:
    model = helper.make_model(graph(in_a_branch(graph(helper.make_node("Run", ["x"], ["c"], domain="evil.ops")))))
    with pytest.raises(EngineError, match=r"a library of custom operators, 'evil\.ops'") as error:
        check_file(written(tmp_path / "m.onnx", model))
    assert not error.value.retryable


def test_a_model_compiled_for_one_device_is_refused(tmp_path: Path) -> None:
    node = helper.make_node("EPContext", ["x"], ["c"], domain="com.microsoft", ep_cache_context="../../x")
    with pytest.raises(EngineError, match="compiled for one device"):
        check_file(written(tmp_path / "m.onnx", helper.make_model(graph(node))))


def test_functions_that_the_file_brings_itself_are_taken(tmp_path: Path) -> None:
    model = in_a_function(helper.make_node("Relu", ["x"], ["c"]))
    check_file(written(tmp_path / "m.onnx", model))


def test_a_plain_model_is_outlined(make_graph: Any) -> None:
    outline = read_outline(make_graph())
    assert ("", "Mul") in outline.operators
    assert (outline.external, outline.functions, outline.graphs) == (None, set(), 1)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "it is empty"),
        (b"<!doctype html><title>Sign in</title>", "unknown wire type"),
        (b"\x08\x09", "there is no graph in it"),
        (b"\x3a\xff\xff\xff\xff\x0f", "runs past its end"),
        (b"\x3a" + b"\xff" * 20, "a number does not end"),
        (b"\x00\x00", "runs past its end"),
        (b"GGUF" + bytes(60), "unknown wire type"),
        (bytes([0x3A, 4, 0x0A, 5, 1, 1]), "runs past its end"),
    ],
)
def test_what_is_no_model_is_refused_with_the_reason(data: bytes, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(data)
    with pytest.raises(EngineError, match=rf"^m\.onnx is not an ONNX model: .*{problem}") as error:
        check_file(path)
    assert not error.value.retryable


def test_a_file_that_has_gone_is_worth_another_try(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"m\.onnx cannot be read") as error:
        check_file(tmp_path / "m.onnx")
    assert error.value.retryable


def nested(levels: int) -> bytes:
    def field(number: int, inner: bytes) -> bytes:
        size, length = len(inner), bytearray()
        while size > 0x7F:
            length.append(size & 0x7F | 0x80)
            size >>= 7
        return bytes([number << 3 | 2, *length, size]) + inner

    inner = b""
    for _ in range(levels):
        inner = field(1, field(5, field(6, inner)))
    return field(7, inner)


def test_depth_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(nested(10))
    assert read_outline(path).graphs == 11
    path.write_bytes(nested(5_000))
    with pytest.raises(NotOnnx, match="nested more than 48 levels"):
        read_outline(path)


def test_the_number_of_fields_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_file, "MAX_FIELDS", 1_000)
    path = tmp_path / "m.onnx"
    path.write_bytes(b"\x08\x01" * 1_001)
    with pytest.raises(NotOnnx, match="more than 1,000 fields"):
        read_outline(path)


def test_no_more_of_a_name_is_kept_than_a_sentence_needs(tmp_path: Path) -> None:
    model = helper.make_model(graph(helper.make_node("A" * 3_000, ["x"], ["c"], domain="b" * 3_000)))
    path = written(tmp_path / "m.onnx", model)
    assert ("b" * MAX_NAME_BYTES, "A" * MAX_NAME_BYTES) in read_outline(path).operators
    with pytest.raises(EngineError, match="a library of custom operators"):
        check_file(path)


def test_a_long_name_of_a_tensor_is_no_reason_to_refuse_a_model(tmp_path: Path) -> None:
    weight = helper.make_tensor("w" * 3_000, TensorProto.FLOAT, [1], [1.0])
    path = written(tmp_path / "m.onnx", helper.make_model(graph(initializers=[weight])))
    check_onnx(path, path.name)
    check_file(path)


@pytest.mark.parametrize("domain", sorted(KNOWN_DOMAINS))
def test_operators_that_the_worker_knows_to_come_with_the_library_are_taken(domain: str, tmp_path: Path) -> None:
    path = written(tmp_path / "m.onnx", helper.make_model(graph(helper.make_node("Relu", ["x"], ["c"], domain=domain))))
    check_file(path)


def test_as_many_fields_are_looked_at_as_the_worker_looks_at() -> None:
    assert onnx_file.MAX_FIELDS >= MAX_FIELDS


@given(data=st.data())
def test_a_damaged_file_is_outlined_or_refused_and_never_more(data: st.DataObject, tmp_path_factory: Any) -> None:
    whole = HIDING_PLACES["a function"].SerializeToString()
    folder = tmp_path_factory.mktemp("damaged")
    at = data.draw(st.integers(0, len(whole) - 1))
    value = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(at, len(whole)))
    path = folder / "m.onnx"
    path.write_bytes(whole[:at] + bytes([value]) + whole[at + 1 : end])
    with contextlib.suppress(NotOnnx):
        read_outline(path)
    shutil.rmtree(folder)
