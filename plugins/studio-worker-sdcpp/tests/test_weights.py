from __future__ import annotations

import json
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from studio_worker_sdcpp.parts import ROLES, model_parts
from studio_worker_sdcpp.weights import check_weights, encoder_slot

from studio_worker import EngineError


def safetensors(path: Path, tensors: dict[str, list[int]], *, missing: int = 0) -> Path:
    """A file with tensors of one byte each."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    for number, (name, shape) in enumerate(tensors.items()):
        header[name] = {"dtype": "F8_E4M3", "shape": shape, "data_offsets": [number, number + 1]}
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(len(tensors) - missing))
    return path


def gguf(path: Path, architecture: str | None, *, before: bytes = b"", count: int = 1) -> Path:
    """A file with a header of `count` keys: `before`, then the architecture."""
    key = b"general.architecture"
    data = b"GGUF" + struct.pack("<IQQ", 3, 0, count) + before
    if architecture is not None:
        value = architecture.encode()
        data += struct.pack("<Q", len(key)) + key + struct.pack("<IQ", 8, len(value)) + value
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    "data",
    [
        b"PK\x03\x04archive/data.pkl",
        b"\x80\x02}q\x00.",
        b"<!DOCTYPE html><title>Log in</title>",
        b"",
        b"{}",
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 100) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 4) + b"{:;}",
        struct.pack("<Q", 9) + b'{"a": 17}',
        struct.pack("<Q", 10) + b'{"a": {} }',
        *(
            struct.pack("<Q", len(entry) + 6) + b'{"a":' + entry + b"}"
            for entry in (
                b'{"shape": [1], "data_offsets": []}',
                b'{"shape": [1], "data_offsets": [0]}',
                b'{"shape": [1], "data_offsets": [0, 1, 2]}',
                b'{"shape": [1e999], "data_offsets": [0, 1]}',
                b'{"shape": [1], "data_offsets": [0, Infinity]}',
            )
        ),
    ],
)
@pytest.mark.parametrize("name", ["model.safetensors", "model.gguf", "model.ckpt"])
def test_what_is_no_weight_file_is_refused_whatever_its_name(tmp_path: Path, data: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(EngineError, match=f"{name} is neither GGUF nor safetensors") as error:
        check_weights(tmp_path / name)
    assert not error.value.retryable
    assert str(tmp_path) not in str(error.value)


def test_weights_pass_whatever_their_name(tmp_path: Path) -> None:
    check_weights(safetensors(tmp_path / "a.bin", {"x": [1], "y": [1]}))
    check_weights(gguf(tmp_path / "b.bin", "sd"))


def test_a_safetensors_file_that_has_been_cut_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"a\.bin is cut short"):
        check_weights(safetensors(tmp_path / "a.bin", {"x": [1], "y": [1]}, missing=1))


def test_another_version_of_gguf_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(b"GGUF" + struct.pack("<IQQ", 99, 0, 0))
    with pytest.raises(EngineError, match=r"a\.gguf is GGUF version 99, 2 and 3 are read"):
        check_weights(tmp_path / "a.gguf")


@pytest.mark.parametrize(
    ("architecture", "slot"),
    [
        ("qwen3", "llm"),
        ("qwen2vl", "llm"),
        ("mistral3", "llm"),
        ("llama", "llm"),
        ("gemma3", "llm"),
        ("t5encoder", "t5xxl"),
        ("T5", "t5xxl"),
    ],
)
def test_the_architecture_in_a_gguf_file_tells_the_encoder(tmp_path: Path, architecture: str, slot: str) -> None:
    assert encoder_slot(gguf(tmp_path / "clip_l.gguf", architecture)) == slot


@pytest.mark.parametrize("architecture", ["sd", "pig", "clip", None])
@pytest.mark.parametrize(
    ("name", "slot"),
    [
        ("clip_l.gguf", "clip_l"),
        ("Clip-L-fp16.gguf", "clip_l"),
        ("clip_g.gguf", "clip_g"),
        ("open-clip-ViT-bigG.gguf", "clip_g"),
        ("t5xxl_fp8.gguf", "t5xxl"),
        ("umt5-xxl.gguf", "t5xxl"),
        ("clip_vision_h.gguf", "clip_vision"),
        ("Qwen3-4B.gguf", "llm"),
    ],
)
def test_a_gguf_file_without_a_useful_architecture_is_told_by_its_name(
    tmp_path: Path, architecture: str | None, name: str, slot: str
) -> None:
    assert encoder_slot(gguf(tmp_path / name, architecture)) == slot


def test_keys_before_the_architecture_are_passed_over(tmp_path: Path) -> None:
    number = struct.pack("<Q", 1) + b"a" + struct.pack("<II", 4, 7)
    text = struct.pack("<Q", 1) + b"b" + struct.pack("<IQ", 8, 2) + b"xy"
    assert encoder_slot(gguf(tmp_path / "a.gguf", "t5", before=number + text, count=3)) == "t5xxl"


@pytest.mark.parametrize(
    "before",
    [
        struct.pack("<Q", 2**63),
        struct.pack("<Q", 1) + b"a" + struct.pack("<I", 9),
        struct.pack("<Q", 1) + b"a" + struct.pack("<I", 99),
        struct.pack("<Q", 1) + b"a" + struct.pack("<IQ", 8, 2**40),
        b"\0",
    ],
)
def test_a_strange_header_falls_back_to_the_name(tmp_path: Path, before: bytes) -> None:
    assert encoder_slot(gguf(tmp_path / "t5.gguf", None, before=before, count=2**63)) == "t5xxl"


@pytest.mark.parametrize(
    ("tensor", "shape", "slot"),
    [
        ("text_model.embeddings.token_embedding.weight", [49408, 768], "clip_l"),
        ("text_model.embeddings.token_embedding.weight", [49408, 1280], "clip_g"),
        ("encoder.block.0.layer.0.SelfAttention.q.weight", [4096, 4096], "t5xxl"),
        ("model.layers.0.self_attn.q_proj.weight", [4096, 2560], "llm"),
        ("vision_model.encoder.layers.0.self_attn.q_proj.weight", [1280, 1280], "clip_vision"),
    ],
)
def test_the_tensors_of_a_safetensors_file_tell_the_encoder(
    tmp_path: Path, tensor: str, shape: list[int], slot: str
) -> None:
    assert encoder_slot(safetensors(tmp_path / "encoder.safetensors", {"x": [1], tensor: shape})) == slot


def test_each_role_becomes_a_part(tmp_path: Path) -> None:
    vision = {"vision_model.encoder.layers.0.self_attn.q_proj.weight": [1]}
    files = {
        "diffusion-model": [gguf(tmp_path / "wan-low.gguf", None), gguf(tmp_path / "wan_HIGH_noise.gguf", None)],
        "text-encoder": [gguf(tmp_path / "umt5.gguf", "t5encoder"), gguf(tmp_path / "qwen.gguf", "qwen2vl")],
        "text-encoder-vision": [gguf(tmp_path / "mmproj.gguf", "clip"), safetensors(tmp_path / "h.bin", vision)],
        "vae": [gguf(tmp_path / "ae.gguf", None), gguf(tmp_path / "taef1.gguf", None)],
        "lora": [],
    }
    paths = {part: path.name for part, path in model_parts(files).paths.items()}
    assert paths == {
        "diffusion_model": "wan-low.gguf",
        "high_noise_diffusion_model": "wan_HIGH_noise.gguf",
        "t5xxl": "umt5.gguf",
        "llm": "qwen.gguf",
        "llm_vision": "mmproj.gguf",
        "clip_vision": "h.bin",
        "vae": "ae.gguf",
        "taesd": "taef1.gguf",
    }


def test_a_whole_model_in_one_file_is_enough(tmp_path: Path) -> None:
    path = gguf(tmp_path / "sd.gguf", None)
    assert dict(model_parts({"model": [path]}).paths) == {"model": path}


@pytest.mark.parametrize("files", [{}, {"model": []}, {"vae": ["ae.gguf"]}])
def test_without_a_model_the_claim_is_refused(tmp_path: Path, files: dict[str, list[str]]) -> None:
    with pytest.raises(EngineError, match="modelSource has no diffusion-model / model file") as error:
        model_parts({role: [gguf(tmp_path / name, None) for name in names] for role, names in files.items()})
    assert not error.value.retryable


def test_a_role_that_would_be_left_out_is_refused(tmp_path: Path) -> None:
    files = {"model": [gguf(tmp_path / "a.gguf", None)], "control-net": [gguf(tmp_path / "b.gguf", None)]}
    with pytest.raises(EngineError, match="does not know the file role control-net; it knows " + ", ".join(ROLES)):
        model_parts(files)


def test_two_files_for_one_part_are_both_named(tmp_path: Path) -> None:
    encoders = [gguf(tmp_path / name, "qwen3") for name in ("a.gguf", "b.gguf")]
    with pytest.raises(EngineError, match=r"two files for one part: a\.gguf and b\.gguf \(llm\)"):
        model_parts({"model": [gguf(tmp_path / "m.gguf", None)], "text-encoder": encoders})


@pytest.mark.parametrize("role", ["model", "vae", "lora", "text-encoder"])
def test_every_file_is_looked_at(tmp_path: Path, role: str) -> None:
    (tmp_path / "bad.gguf").write_bytes(b"<html>")
    with pytest.raises(EngineError, match=r"bad\.gguf is neither"):
        model_parts({"diffusion-model": [gguf(tmp_path / "m.gguf", None)], role: [tmp_path / "bad.gguf"]})


def test_loras_are_known_with_and_without_their_ending(tmp_path: Path) -> None:
    loras = [gguf(tmp_path / name, None) for name in ("a.gguf", "b.gguf", "b.safetensors")]
    names = model_parts({"model": [gguf(tmp_path / "m.gguf", None)], "lora": loras}).loras
    assert dict(names) == {"a": loras[0], "a.gguf": loras[0], "b.gguf": loras[1], "b.safetensors": loras[2]}


NUMBERS = st.sampled_from([0, -1, 2**64, 1.5, 1e308, True]) | st.integers(0, 100)
ENTRIES = st.fixed_dictionaries(
    {},
    optional={
        "dtype": st.just("F16"),
        "shape": st.none() | st.lists(NUMBERS, max_size=3) | st.just("12"),
        "data_offsets": st.none() | st.lists(NUMBERS, max_size=3) | st.just("12"),
    },
)
NAMES = st.sampled_from(
    ["text_model.embeddings.token_embedding.weight", "encoder.block.0.a", "layers.0.self_attn.q_proj.a", "__metadata__"]
)


@settings(deadline=None, print_blob=True)
@given(header=st.dictionaries(NAMES | st.text(max_size=5), st.none() | st.just([]) | ENTRIES, max_size=4))
@example(header={"a": {"shape": [1], "data_offsets": [0]}})
def test_a_safetensors_head_of_anything_is_read_or_refused(tmp_path_factory: Any, header: Any) -> None:
    check_any(tmp_path_factory.getbasetemp() / "fuzzed.safetensors", json.dumps(header).encode())


@pytest.mark.parametrize("number", ["1e400", "Infinity", "-Infinity", "NaN"])
def test_numbers_without_end_in_a_safetensors_head_are_refused(tmp_path: Path, number: str) -> None:
    for entry in (
        f'{{"shape": [{number}], "data_offsets": [0, 1]}}',
        f'{{"shape": [], "data_offsets": [0, {number}]}}',
    ):
        head = f'{{"a": {entry}}}'.encode()
        path = tmp_path / "a.safetensors"
        path.write_bytes(struct.pack("<Q", len(head)) + head + bytes(8))
        with pytest.raises(EngineError, match="neither GGUF nor safetensors"):
            check_weights(path)
        assert encoder_slot(path) == "llm"


@settings(deadline=None, print_blob=True)
@given(changes=st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=5), cut=st.integers(0, 120))
def test_a_damaged_gguf_head_is_read_or_refused(tmp_path_factory: Any, changes: list[Any], cut: int) -> None:
    path = gguf(tmp_path_factory.getbasetemp() / "fuzzed.gguf", "flux")
    data = bytearray(path.read_bytes() + bytes(40))
    for place, value in changes:
        data[place % len(data)] = value
    path.write_bytes(bytes(data[: max(4, len(data) - cut)]))
    check_file(path)


def check_any(path: Path, head: bytes) -> None:
    path.write_bytes(struct.pack("<Q", len(head)) + head + bytes(64))
    check_file(path)


def check_file(path: Path) -> None:
    with suppress(EngineError):
        check_weights(path)
    assert encoder_slot(path) in ("clip_l", "clip_g", "clip_vision", "t5xxl", "llm")
