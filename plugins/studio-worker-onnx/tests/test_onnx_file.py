from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from studio_worker_onnx.onnx_file import check_file

from studio_worker import EngineError


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
    with pytest.raises(EngineError, match=r"^m\.onnx .* keeps a tensor in another file") as error:
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


def test_a_graph_that_only_onnx_runtime_sees_is_refused_before_it_reads_the_file_beside_it(tmp_path: Path) -> None:
    """A tag of 33 bits is one of 32 to C++."""
    (tmp_path / "private.bin").write_bytes(np.float32(7).tobytes())
    ends = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])]
    node = helper.make_node("Identity", ["weights"], ["y"])
    inner = helper.make_graph([node], "g", [], ends, [external(location="private.bin")]).SerializeToString()
    head = onnx.ModelProto(ir_version=8, opset_import=[helper.make_opsetid("", 17)]).SerializeToString()
    assert len(inner) < 128
    path = tmp_path / "m.onnx"
    path.write_bytes(head + b"\x3a\0" + b"\xba\x80\x80\x80\x10" + bytes([len(inner)]) + inner)
    assert onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {})[0] == [7]
    with pytest.raises(EngineError, match=r"^m\.onnx is no sound ONNX file") as error:
        check_file(path)
    assert not error.value.retryable


def test_operators_of_another_library_are_refused_by_its_name(tmp_path: Path) -> None:
    model = helper.make_model(graph(in_a_branch(graph(helper.make_node("Run", ["x"], ["c"], domain="evil.ops")))))
    with pytest.raises(EngineError, match=r"library of operators for the domain 'evil\.ops'") as error:
        check_file(written(tmp_path / "m.onnx", model))
    assert not error.value.retryable


def test_functions_that_the_file_brings_itself_are_taken(tmp_path: Path) -> None:
    check_file(written(tmp_path / "m.onnx", in_a_function(helper.make_node("Relu", ["x"], ["c"]))))


def test_a_plain_model_is_taken(make_graph: Any) -> None:
    check_file(make_graph())


@pytest.mark.parametrize("data", [b"", b"<!doctype html><title>Sign in</title>", b"\x08\x09", b"GGUF" + bytes(60)])
def test_what_is_no_model_is_refused_by_its_name(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(data)
    with pytest.raises(EngineError, match=r"^m\.onnx is no sound ONNX file: ") as error:
        check_file(path)
    assert not error.value.retryable


def test_a_file_that_has_gone_is_worth_another_try(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"m\.onnx cannot be read") as error:
        check_file(tmp_path / "m.onnx")
    assert error.value.retryable


def test_a_long_name_of_a_tensor_is_no_reason_to_refuse_a_model(tmp_path: Path) -> None:
    weight = helper.make_tensor("w" * 3_000, TensorProto.FLOAT, [1], [1.0])
    check_file(written(tmp_path / "m.onnx", helper.make_model(graph(initializers=[weight]))))
