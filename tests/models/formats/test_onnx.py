from __future__ import annotations

import struct
from collections.abc import Collection
from functools import partial
from pathlib import Path

import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from studio_worker.models.formats import onnx as onnx_module
from studio_worker.models.formats.onnx import MAX_DOMAINS, MAX_TEXT, check_onnx
from studio_worker.models.preflight import preflight

from .judging import judged


def varint(number: int, *, padding: int = 0) -> bytes:
    """A number as protobuf writes it, and with bytes that say nothing where it is to be longer."""
    out = bytearray()
    while True:
        number, low = number >> 7, number & 0x7F
        out.append(low | (0x80 if number or padding else 0))
        if not number:
            return bytes(out) + (b"\x80" * (padding - 1) + b"\0" if padding else b"")


def field(number: int, data: bytes, *, above: int = 0) -> bytes:
    """A field; `above` are bits of its tag from the 33rd on."""
    return varint(above << 32 | number << 3 | 2) + varint(len(data)) + data


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


def hidden(model: onnx.ModelProto) -> bytes:
    """The model with its graph under a tag of 33 bits, behind an empty graph that all see."""
    inner = model.graph.SerializeToString()
    model.ClearField("graph")
    return model.SerializeToString() + field(7, b"") + field(7, inner, above=1)


HOSTILE = (hidden(graph(weight=elsewhere("a.data"))), hidden(graph(domain="evil.ops")))
"""Files that ONNX Runtime opens as other graphs than a parser sees that keeps all bits of a tag."""

wherever = partial(check_onnx, beside=None)

SOUND = graph(weight=helper.make_tensor("w", TensorProto.FLOAT, [4], [1.0, 2.0, 3.0, 4.0])).SerializeToString()


@pytest.mark.parametrize(
    "data",
    [
        SOUND,
        graph(domain="com.microsoft").SerializeToString(),
    ],
)
def test_a_sound_file_passes(tmp_path: Path, data: bytes) -> None:
    assert judged(check_onnx, tmp_path / "x", "a.onnx", data) == ("", "")


def test_weights_in_a_plain_file_beside_it_pass_where_nobody_knows_the_models_files(tmp_path: Path) -> None:
    data = graph(weight=elsewhere("a.onnx.data")).SerializeToString()
    assert judged(wherever, tmp_path / "x", "a.onnx", data) == ("", "")


@pytest.mark.parametrize("data", HOSTILE)
def test_a_graph_under_a_tag_that_only_some_parsers_know_is_refused(tmp_path: Path, data: bytes) -> None:
    for check in (check_onnx, preflight):
        assert "a number in it is too long" in judged(check, tmp_path / "x", "a.onnx", data)[1]


@pytest.mark.parametrize("beside", [(), ("a.onnx",), ("A.DATA", "a.data.1")])
def test_weights_in_a_file_that_is_none_of_the_models_are_refused(tmp_path: Path, beside: Collection[str]) -> None:
    data = graph(weight=elsewhere("a.data")).SerializeToString()
    for check in (check_onnx, preflight):
        assert judged(partial(check, beside=beside), tmp_path / "x", "a.onnx", data)[0] == "onnx"
    assert judged(partial(check_onnx, beside=["a.onnx", "a.data"]), tmp_path / "x", "a.onnx", data) == ("", "")


@pytest.mark.parametrize("missing", ["the mark", "the place"])
def test_either_word_of_another_file_is_enough_where_there_is_none(tmp_path: Path, missing: str) -> None:
    weight = elsewhere("a.data")
    if missing == "the place":
        del weight.external_data[:]
    else:
        weight.data_location = TensorProto.DEFAULT
    data = graph(weight=weight).SerializeToString()
    said = judged(check_onnx, tmp_path / "x", "a.onnx", data)[1]
    assert "keeps a tensor in another file; save it with its weights inside" in said


def test_what_a_tensor_in_two_pieces_says_together_is_refused(tmp_path: Path) -> None:
    """Parsers put the pieces of a message together."""
    whole = elsewhere("../x")
    place = TensorProto(external_data=whole.external_data)
    whole.ClearField("external_data")
    node = field(5, field(1, b"value") + field(5, whole.SerializeToString()) + field(5, place.SerializeToString()))
    said = judged(wherever, tmp_path / "x", "a.onnx", field(7, field(1, node)))[1]
    assert "its weights lie in '../x'" in said


def test_the_last_of_two_names_is_the_one_that_counts(tmp_path: Path) -> None:
    """As protobuf has it: a function that calls itself two names has the second alone."""
    own = field(25, field(1, b"Relu") + field(10, b"mine") + field(10, b"other"))
    for domain, rule in (("mine", "onnx"), ("other", "")):
        data = graph(domain=domain).SerializeToString() + own
        assert judged(check_onnx, tmp_path / "x", "a.onnx", data)[0] == rule
    twice = field(7, field(1, field(4, b"Relu") + field(7, b"") + field(7, b"evil.ops")))
    assert "the domain 'evil.ops'" in judged(check_onnx, tmp_path / "x", "a.onnx", twice)[1]


@pytest.mark.parametrize("name", [b"\xff", b"m" * (MAX_TEXT + 1)])
def test_a_name_that_could_be_taken_for_another_one_is_refused(tmp_path: Path, name: bytes) -> None:
    node = field(1, field(4, b"Relu") + field(7, name))
    assert "a name in it" in judged(check_onnx, tmp_path / "x", "a.onnx", field(7, node))[1]


def test_a_model_compiled_for_one_device_is_refused(tmp_path: Path) -> None:
    model = graph()
    model.graph.node.append(
        helper.make_node("EPContext", ["x"], ["c"], domain="com.microsoft", ep_cache_context="../x")
    )
    assert "compiled for one device" in judged(check_onnx, tmp_path / "x", "a.onnx", model.SerializeToString())[1]


def test_more_libraries_than_any_model_names_are_refused(tmp_path: Path) -> None:
    nodes = b"".join(field(1, field(7, b"lib%d" % each)) for each in range(MAX_DOMAINS + 1))
    assert "more libraries of operators" in judged(check_onnx, tmp_path / "x", "a.onnx", field(7, nodes))[1]


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
    rule, said = judged(wherever, tmp_path / "x", "a.onnx", data)
    assert rule == "onnx"
    assert "its weights lie in" in said


def test_weights_that_hide_in_an_attribute_of_a_nested_graph_are_found(tmp_path: Path) -> None:
    inner = graph(weight=elsewhere("../x")).graph
    model = graph()
    model.graph.node.append(helper.make_node("If", ["x"], ["z"], then_branch=inner))
    assert "its weights lie in '../x'" in judged(wherever, tmp_path / "x", "a.onnx", model.SerializeToString())[1]


def test_a_second_copy_of_the_graph_hides_nothing(tmp_path: Path) -> None:
    data = SOUND + field(7, graph(weight=elsewhere("../x")).graph.SerializeToString())
    assert "its weights lie in" in judged(wherever, tmp_path / "x", "a.onnx", data)[1]


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
        (b"\x3a" + varint(2**30), "goes on behind its end"),
        (b"\x3a" + varint(2**31), "a number in it is too long"),
        (b"\x3a" + varint(2**63), "a number in it is too long"),
        (b"\x08" + varint(2**64), "a number in it is too long"),
        (b"\x08" + b"\x80" * 10 + b"\x01", "a number in it is too long"),
        (varint(7 << 3 | 2, padding=1) + b"\0", "longer than it needs to be"),
        (b"\x3a" + varint(0, padding=3), "longer than it needs to be"),
        (b"\x02\0", "no protobuf"),
        (b"\x38\x05", "a field of a model has another type"),
        (field(7, b"\x28\x01"), "a field of a graph has another type"),
        (field(7, field(5, b"\x72\x01\x01")), "a field of a tensor has another type"),
        (field(7, field(1, b"\x38\x01")), "a field of a node has another type"),
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
    said = judged(check_onnx, tmp_path / "x", "a.onnx", field(7, b"\x20\x01" * 1_001))[1]
    assert "more fields than any model" in said


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_damaged_file_is_refused_or_passes_and_never_more(tmp_path: Path, data: st.DataObject) -> None:
    bytes_ = bytearray(graph(weight=elsewhere("a.data")).SerializeToString())
    for _ in range(data.draw(st.integers(1, 8))):
        bytes_[data.draw(st.integers(0, len(bytes_) - 1))] = data.draw(st.integers(0, 255))
    rule, _ = judged(wherever, tmp_path / "x", "a.onnx", bytes(bytes_[: data.draw(st.integers(0, len(bytes_)))]))
    assert rule in ("", "onnx")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300))
def test_any_bytes_in_a_graph_are_refused_or_pass_and_never_more(tmp_path: Path, inner: bytes) -> None:
    assert judged(check_onnx, tmp_path / "x", "a.onnx", field(7, inner))[0] in ("", "onnx")
