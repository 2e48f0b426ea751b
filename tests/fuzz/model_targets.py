"""Parsers of model files, before a native library reads them, and of what a model is told to say."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

from studio_worker_llama.gguf_header import BadHeader, read_header
from studio_worker_llama.json_grammar import json_grammar
from studio_worker_onnx.onnx_file import check_file
from studio_worker_piper.voice import load_voice
from studio_worker_sdcpp.weights import check_weights, encoder_slot

from studio_worker.errors import BadInput, EngineError
from studio_worker.models.formats.bad_file import BadModelFile
from studio_worker.models.formats.gguf import check_gguf
from studio_worker.models.formats.onnx import check_onnx
from studio_worker.models.formats.pickles import check_pickles
from studio_worker.models.formats.safetensors import check_safetensors
from studio_worker.wire.json_schema import check_schema
from studio_worker.wire.strict_json import NotJson, loads
from tests.fuzz.changes import change_header, change_json
from tests.fuzz.message_targets import SCHEMAS
from tests.fuzz.target import as_json, placed, target
from tests.models.formats.test_gguf import ARRAY, STRING, U32, array, key, made
from tests.models.formats.test_gguf import SOUND as GGUF
from tests.models.formats.test_gguf import text as gguf_text
from tests.models.formats.test_onnx import HOSTILE as HOSTILE_ONNX
from tests.models.formats.test_onnx import SOUND as ONNX
from tests.models.formats.test_pickles import HOSTILE as HOSTILE_PICKLES
from tests.models.formats.test_pickles import numpy_file, zipped
from tests.models.formats.test_safetensors import SOUND as SAFETENSORS

GGUF_OF_LLAMA = made(
    key(b"general.architecture", STRING, gguf_text(b"llama")),
    key(b"llama.context_length", U32, struct.pack("<I", 2_048)),
    key(b"tokens", ARRAY, array(STRING, 2, gguf_text(b"a") + gguf_text(b"b"))),
)
VOICE = {
    "audio": {"sample_rate": 22_050},
    "espeak": {"voice": "en-us"},
    "language": {"code": "en_US"},
    "inference": {"noise_scale": 0.667, "length_scale": 1, "noise_w": 0.8},
    "num_symbols": 256,
    "num_speakers": 1,
    "speaker_id_map": {},
    "phoneme_id_map": {"_": [0], "a": [14]},
}


@target(BadModelFile, seeds=[GGUF])
def gguf(data: bytes, folder: Path) -> None:
    check_gguf(placed(data, folder, "a.gguf"), "a.gguf")


@target(BadModelFile, seeds=[SAFETENSORS], change=change_header)
def safetensors(data: bytes, folder: Path) -> None:
    check_safetensors(placed(data, folder, "a.safetensors"), "a.safetensors")


@target(BadModelFile, seeds=[ONNX], hostile=HOSTILE_ONNX)
def onnx(data: bytes, folder: Path) -> None:
    check_onnx(placed(data, folder, "a.onnx"), "a.onnx")


@target(
    BadModelFile,
    seeds=[
        b"i\nam\nno pickle\n",
        zipped(("weights.bin", bytes(99)), ("config.json", b"{}")),
        zipped(("a.bin", b"weights" * 40), compression=zipfile.ZIP_DEFLATED),
        numpy_file("'<f4'"),
    ],
    hostile=HOSTILE_PICKLES,
    through=("zipfile", "tarfile"),
)
def pickles(data: bytes, folder: Path) -> None:
    check_pickles(placed(data, folder, "a.bin"), "a.bin")


@target(BadHeader, seeds=[GGUF_OF_LLAMA])
def llama_header(data: bytes, folder: Path) -> None:
    header = read_header(placed(data, folder, "a.gguf"))
    assert isinstance(header.architecture, str)
    assert isinstance(header.number("context_length"), int)


@target(NotJson, ValueError, BadInput, seeds=as_json(SCHEMAS), change=change_json)
def llama_grammar(data: bytes, folder: Path) -> None:
    schema = loads(data)
    check_schema(schema)
    assert json_grammar(schema).reach >= 0


@target(EngineError, seeds=[ONNX], hostile=HOSTILE_ONNX)
def onnx_outline(data: bytes, folder: Path) -> None:
    check_file(placed(data, folder, "a.onnx"))


@target(EngineError, seeds=[GGUF, SAFETENSORS], change=change_header)
def sdcpp_weights(data: bytes, folder: Path) -> None:
    path = placed(data, folder, "a.safetensors")
    assert encoder_slot(path) in ("clip_l", "clip_g", "clip_vision", "t5xxl", "llm")
    check_weights(path)


@target(EngineError, seeds=as_json([VOICE]), change=change_json)
def piper_config(data: bytes, folder: Path) -> None:
    model = placed(ONNX, folder, "voice.onnx")
    voice = load_voice(model, placed(data, folder, "voice.onnx.json"), threads=1)
    assert isinstance(voice.language, str)
    assert voice.rate > 0
