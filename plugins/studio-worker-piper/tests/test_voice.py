from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from spoiled import spoiled

from studio_worker import BadInput, EngineError, ModelFiles

pytest.importorskip("piper", reason="needs pip install piper-tts")

from studio_worker_piper.voice import Voice, load_voice


@pytest.fixture
def crowd(voice: Voice) -> Voice:
    """The voice as if it had three speakers."""
    config = replace(voice.piper.config, num_speakers=3, speaker_id_map={"anna": 0, "bert": 2, "7": 1})
    return replace(voice, piper=replace(voice.piper, config=config))


def test_a_voice_knows_its_name_language_and_rate(voice: Voice) -> None:
    assert (voice.name, voice.language, voice.rate) == ("en_US-joe-medium", "en_US", 22_050)
    assert voice.speakers == {}


@pytest.mark.parametrize(("wanted", "speaker"), [("default", None), ("bert", 2), ("2", 2), ("7", 1), ("0", 0)])
def test_a_speaker_is_found_by_name_or_id(crowd: Voice, wanted: str, speaker: int | None) -> None:
    assert crowd.speaker(wanted) == speaker


@pytest.mark.parametrize("wanted", ["carl", "9", "-1", "²"])
def test_an_unknown_speaker_is_refused_with_the_names(crowd: Voice, wanted: str) -> None:
    with pytest.raises(BadInput, match="it has default, en_US-joe-medium, anna, bert, 7"):
        crowd.speaker(wanted)


def test_a_crowd_of_names_is_cut_short(voice: Voice) -> None:
    config = replace(voice.piper.config, num_speakers=900)
    many = replace(voice, piper=replace(voice.piper, config=config))
    assert many.speaker("899") == 899
    with pytest.raises(BadInput, match=r"and 882 more$"):
        many.speaker("carl")


def test_a_text_is_cut_at_its_sentences(voice: Voice) -> None:
    assert len(voice.pieces("One. Two! Three?", 1.0)) == 3


@pytest.mark.parametrize("text", ["and so on " * 300, "a" * 3_000, "word " * 500])
def test_no_piece_is_too_long_to_speak_at_once(voice: Voice, text: str) -> None:
    pieces = voice.pieces(text, 1.0)
    assert len(pieces) > 1
    assert max(len(piece) for piece in pieces) <= 2 * 200 + 3


def test_slow_speech_is_cut_into_shorter_pieces(voice: Voice) -> None:
    text = "and so on " * 100
    assert len(voice.pieces(text, 4.0)) > len(voice.pieces(text, 1.0))


def test_a_piece_is_spoken_at_full_scale(voice: Voice) -> None:
    from piper import SynthesisConfig

    (piece,) = voice.pieces("Hello.", 1.0)
    sound = voice.speak(piece, SynthesisConfig())
    assert sound.dtype == np.int16
    assert np.abs(sound).max() == 32_767


def test_the_loudest_sample_is_at_full_scale_whatever_it_was() -> None:
    peaks = np.linspace(0.05, 1.0, 200, dtype=np.float32)
    for peak in peaks:
        piper = SimpleNamespace(phoneme_ids_to_audio=lambda piece, settings, peak=peak: np.array([peak, 0, -peak / 2]))
        sound = Voice("made-up", piper, "en", 22_050).speak([], None)  # type: ignore[arg-type]  # only its sound counts
        assert sound[0] == 32_767


@pytest.mark.parametrize(
    "raw",
    [b"", b"not json", b"[]", b"{}", b'{"audio": {}}', b"\xff", b"[" * 100_000, b'{"num_symbols": null, "audio": 5}'],
)
def test_a_config_that_is_none_is_refused_by_name(model: ModelFiles, tmp_path: Path, raw: bytes) -> None:
    config = tmp_path / "voice.onnx.json"
    config.write_bytes(raw)
    with pytest.raises(EngineError, match=r"voice\.onnx\.json is no config") as error:
        load_voice(model.files["model"][0], config, threads=1)
    assert not error.value.retryable


@pytest.mark.parametrize("raw", [b"", b"not a network", b"\x08\x07"])
def test_a_network_that_is_none_is_refused_by_name(model: ModelFiles, tmp_path: Path, raw: bytes) -> None:
    network = tmp_path / "voice.onnx"
    network.write_bytes(raw)
    with pytest.raises(EngineError, match=r"voice\.onnx is no Piper voice") as error:
        load_voice(network, model.files["config"][0], threads=1)
    assert not error.value.retryable


@pytest.mark.parametrize("tag", [b"\x3a", b"\xba\x80\x80\x80\x10"], ids=["plain", "of 33 bits, as only C++ reads it"])
def test_a_network_with_weights_in_another_file_is_refused_before_that_is_read(
    model: ModelFiles, tmp_path: Path, tag: bytes
) -> None:
    (tmp_path / "private.bin").write_bytes(b"1234")
    tensor = b"\x08\x04\x10\x02\x42\x01w\x70\x01" + b"\x6a\x17\x0a\x08location\x12\x0bprivate.bin"
    network = tmp_path / "voice.onnx"
    inner = b"\x2a" + bytes([len(tensor)]) + tensor
    network.write_bytes(b"\x08\x08\x3a\0" + tag + bytes([len(inner)]) + inner)
    with pytest.raises(EngineError, match=r"voice\.onnx is no Piper voice: .*\(rule: onnx\)") as error:
        load_voice(network, model.files["config"][0], threads=1)
    assert not error.value.retryable


def test_a_network_that_has_gone_is_worth_another_try(model: ModelFiles, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"gone\.onnx cannot be read") as error:
        load_voice(tmp_path / "gone.onnx", model.files["config"][0], threads=1)
    assert error.value.retryable


def test_a_voice_without_a_language_takes_that_of_its_phonemes(model: ModelFiles, tmp_path: Path) -> None:
    raw: dict[str, Any] = json.loads(model.files["config"][0].read_bytes())
    del raw["language"]
    config = tmp_path / "voice.onnx.json"
    config.write_text(json.dumps(raw))
    assert load_voice(model.files["model"][0], config, threads=None).language == "en-us"


CONFIG = {
    "audio": {"sample_rate": 22_050},
    "espeak": {"voice": "en-us"},
    "inference": {"noise_scale": 0.667, "length_scale": 1, "noise_w": 0.8},
    "phoneme_id_map": {"_": [0], "a": [1]},
    "num_symbols": 2,
    "num_speakers": 2,
    "speaker_id_map": {"anna": 0, "bert": 1},
    "language": {"code": "en_US"},
}


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("audio", "sample_rate"), "22050"),
        (("audio", "sample_rate"), 0),
        (("audio", "sample_rate"), 10**9),
        (("num_speakers",), 1.5),
        (("espeak", "voice"), ["en-us"]),
        (("inference", "length_scale"), 0),
        (("inference", "length_scale"), 1e9),
        (("inference", "noise_w"), "0.8"),
        (("phoneme_id_map",), {"a": ["1"]}),
        (("phoneme_id_map",), []),
        (("speaker_id_map",), {"anna": None}),
    ],
)
def test_a_config_that_could_not_be_spoken_by_is_refused_at_once(
    tmp_path: Path, place: tuple[str, ...], value: Any
) -> None:
    raw = copy.deepcopy(CONFIG)
    *way, last = place
    node: Any = raw
    for key in way:
        node = node[key]
    node[last] = value
    assert "is no config" in refusal(tmp_path, json.dumps(raw))


def test_a_config_is_not_repeated_at_length(tmp_path: Path) -> None:
    raw = copy.deepcopy(CONFIG) | {"phoneme_type": "x" * 5_000}
    said = refusal(tmp_path, json.dumps(raw))
    assert "is no config of a Piper voice" in said
    assert len(said) < 300


@settings(deadline=None, print_blob=True)
@given(raw=spoiled(CONFIG))
def test_any_config_is_refused_before_the_network_or_fit_to_speak_by(tmp_path_factory: Any, raw: Any) -> None:
    refusal(tmp_path_factory.getbasetemp(), json.dumps(raw))


def refusal(folder: Path, config: str) -> str:
    """Why a voice with this config, and a network that is none, is refused."""
    (folder / "voice.onnx").write_bytes(b"not a network")
    (folder / "voice.onnx.json").write_text(config)
    with pytest.raises(EngineError) as error:
        load_voice(folder / "voice.onnx", folder / "voice.onnx.json", threads=1)
    assert not error.value.retryable
    return str(error.value)
