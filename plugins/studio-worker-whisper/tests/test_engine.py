from __future__ import annotations

import re
import subprocess
import sys
import wave
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from studio_worker_whisper import WhisperEngine, studio_worker_engines
from studio_worker_whisper.engine import check_language

from studio_worker import BadInput, Cancelled, EngineError, ModelFiles, SttTask, TaskKind, TtsTask, UnsupportedTask
from studio_worker.engines.base import Available, PluginConfig
from studio_worker.wire.results import Transcript


def normalised(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower())


@pytest.fixture
def silence(tmp_path: Path) -> Path:
    path = tmp_path / "silence.wav"
    with wave.open(str(path), "wb") as out:
        out.setparams((1, 2, 16_000, 0, "NONE", ""))
        out.writeframes(b"\0" * 160_000)
    return path


def test_the_plugin_is_found_under_its_name_and_serves_its_source() -> None:
    found = entry_points(group="studio_worker", name="whisper")
    assert [point.value for point in found] == ["studio_worker_whisper"]
    (engine,) = studio_worker_engines(PluginConfig())
    assert engine.name == "whisper"
    assert engine.isolation == "process"
    assert dict(engine.capabilities().models) == {TaskKind.AUDIO_STT: ("whisper:*",)}
    assert engine.availability() == Available()


def test_describing_the_engine_imports_no_heavy_library() -> None:
    code = (
        "import sys; from studio_worker_whisper import WhisperEngine; e = WhisperEngine(); e.capabilities(); "
        "e.availability(); print([n for n in ('numpy', 'av', 'faster_whisper', 'ctranslate2', 'pydantic') "
        "if n in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_what_a_real_voice_said_is_written_down_word_for_word(
    engine: WhisperEngine, job: Any, speech: Path, spoken: str
) -> None:
    made = job(speech)
    result = engine.run(made).json
    assert normalised(result["text"]) == normalised(spoken)
    assert result["language"] == "en"
    with wave.open(str(speech)) as sound:
        assert result["duration"] == pytest.approx(sound.getnframes() / sound.getframerate(), abs=0.01)
    assert result.keys() == {"text", "language", "duration"}
    Transcript.model_validate(result)


@pytest.mark.parametrize(
    ("container", "codec", "name"),
    [("mp3", "libmp3lame", "a.mp3"), ("ogg", "libopus", "a.txt"), ("flac", "flac", "a"), ("webm", "libopus", "a.wav")],
)
def test_the_same_speech_in_another_format_is_the_same_text(
    engine: WhisperEngine,
    job: Any,
    speech: Path,
    spoken: str,
    sound_file: Any,
    tmp_path: Path,
    container: str,
    codec: str,
    name: str,
) -> None:
    with wave.open(str(speech)) as sound:
        samples = np.frombuffer(sound.readframes(sound.getnframes()), "<i2").repeat(2)
    path = sound_file(tmp_path / name, container, codec, samples[: len(samples)], 48_000)
    # Played at 48 kHz instead of 44.1 kHz the voice is a little higher and faster, and still clear.
    assert normalised(engine.run(job(path)).json["text"]) == normalised(spoken)


def test_segments_are_given_where_they_are_asked_for(engine: WhisperEngine, job: Any, speech: Path) -> None:
    result = engine.run(job(speech, timestamps="segment")).json
    assert "words" not in result
    assert " ".join(segment["text"] for segment in result["segments"]) == result["text"]
    times = [time for segment in result["segments"] for time in (segment["start"], segment["end"])]
    assert times == sorted(times)
    assert times[-1] <= result["duration"]
    Transcript.model_validate(result)


def test_words_are_given_in_order_and_inside_the_sound(engine: WhisperEngine, job: Any, speech: Path) -> None:
    result = engine.run(job(speech, timestamps="word")).json
    assert "segments" not in result
    assert "".join(word["word"] for word in result["words"]) == result["text"].replace(" ", "")
    times = [time for word in result["words"] for time in (word["start"], word["end"])]
    assert all(type(time) is float for time in times)
    assert times == sorted(times)
    assert times[0] >= 0
    assert times[-1] <= result["duration"]


def test_the_same_sound_and_seed_give_the_same_transcript(engine: WhisperEngine, job: Any, speech: Path) -> None:
    first, second = (engine.run(job(speech, timestamps="word")).json for _ in range(2))
    assert first == second


def test_long_sound_is_heard_in_pieces_with_times_that_go_on(
    engine: WhisperEngine, job: Any, speech: Path, spoken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("studio_worker_whisper.sound.WINDOW_SECS", 15)
    monkeypatch.setattr("studio_worker_whisper.sound._QUIET_SECS", 8)
    with wave.open(str(speech)) as sound:
        rate, data = sound.getframerate(), sound.readframes(sound.getnframes())
    with wave.open(str(tmp_path / "long.wav"), "wb") as out:
        out.setparams((1, 2, rate, 0, "NONE", ""))
        for _ in range(3):
            out.writeframes(data + b"\0" * (2 * rate))
    result = engine.run(job(tmp_path / "long.wav", timestamps="word")).json
    assert len(normalised(result["text"])) == pytest.approx(3 * len(normalised(spoken)), abs=6)
    times = [time for word in result["words"] for time in (word["start"], word["end"])]
    assert times == sorted(times)
    assert times[-1] > result["duration"] * 0.8


def test_a_prompt_is_taken(engine: WhisperEngine, job: Any, speech: Path, spoken: str) -> None:
    text = engine.run(job(speech, prompt="A fox, a dog, a river.")).json["text"]
    assert len(set(normalised(text)) & set(normalised(spoken))) > 15


def test_voice_detection_hears_nothing_in_silence(engine: WhisperEngine, job: Any, silence: Path) -> None:
    result = engine.run(job(silence, vad=True, timestamps="segment")).json
    assert (result["text"], result["segments"], result["duration"]) == ("", [], 5.0)


def test_voice_detection_keeps_speech(engine: WhisperEngine, job: Any, speech: Path, spoken: str) -> None:
    assert normalised(engine.run(job(speech, vad=True)).json["text"]) == normalised(spoken)


@pytest.mark.parametrize("language", ["en", "en-US", "EN_gb"])
def test_english_is_accepted_in_every_spelling(engine: WhisperEngine, job: Any, speech: Path, language: str) -> None:
    assert engine.run(job(speech, language=language)).json["language"] == "en"


def test_an_english_model_refuses_to_translate(engine: WhisperEngine, job: Any, speech: Path) -> None:
    with pytest.raises(BadInput, match=r"task\.translate: the model knows English only"):
        engine.run(job(speech, translate=True))


def test_an_english_model_refuses_another_language(engine: WhisperEngine, job: Any, speech: Path) -> None:
    with pytest.raises(BadInput, match=r"task\.language: de-DE is not known to the model; it knows English only"):
        engine.run(job(speech, language="de-DE"))


@dataclass
class Polyglot:
    """A multilingual model, as far as languages go; no small one can be had from a package registry."""

    is_multilingual: bool = True
    languages: tuple[str, ...] = ("en", "de", "yue")


@pytest.mark.parametrize(("tag", "code"), [("de-DE", "de"), ("yue", "yue"), (None, None)])
def test_a_multilingual_model_takes_its_languages_and_translates(tag: str | None, code: str | None) -> None:
    task = SttTask(input_url="https://files.example/a", language=tag, translate=True)
    assert check_language(task, Polyglot()) == code  # type: ignore[arg-type]  # a stand-in


def test_a_multilingual_model_refuses_a_language_that_it_does_not_know() -> None:
    with pytest.raises(BadInput, match="it knows 3 languages, not this one"):
        check_language(SttTask(input_url="https://x.example/a", language="tlh"), Polyglot())  # type: ignore[arg-type]


def test_progress_is_told_in_seconds(engine: WhisperEngine, job: Any, speech: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    result = engine.run(job(speech, on_progress=lambda *step: seen.append(step[:3]))).json
    heard = [step for step in seen if step[2] == "transcribe"]
    assert seen[0] == (0, 1, "decode")
    assert heard[-1][0] == heard[-1][1] == int(np.ceil(result["duration"]))
    assert [step for step, _, _ in heard] == sorted(step for step, _, _ in heard)


def test_a_cancelled_job_ends_before_it_is_decoded(engine: WhisperEngine, job: Any, speech: Path) -> None:
    made = job(speech)
    made._cancel.set()
    with pytest.raises(Cancelled):
        engine.run(made)


def test_a_job_that_is_cancelled_between_segments_ends_there(engine: WhisperEngine, job: Any, speech: Path) -> None:
    stages: list[str] = []

    def stop(step: int, total: int, stage: str, preview: bytes | None) -> None:
        stages.append(stage)
        if stage == "transcribe":
            made._cancel.set()

    made = job(speech, on_progress=stop, timestamps="segment")
    with pytest.raises(Cancelled):
        engine.run(made)
    assert stages.count("transcribe") == 1


def test_what_is_no_audio_is_refused(engine: WhisperEngine, job: Any, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"v=0\no=- 0 0 IN IP4 127.0.0.1\n")
    with pytest.raises(BadInput, match="not audio"):
        engine.run(job(tmp_path / "a.wav"))


def test_sound_over_the_limit_is_refused(job: Any, speech: Path) -> None:
    with pytest.raises(BadInput, match=r"longer than 1\.5 seconds"):
        WhisperEngine(max_audio_secs=1.5).run(job(speech))


def test_a_task_of_another_kind_is_refused(engine: WhisperEngine, job: Any, speech: Path) -> None:
    made = job(speech)
    made.task = TtsTask(text="Hello.")
    with pytest.raises(UnsupportedTask, match="not audio_tts"):
        engine.run(made)


def test_an_estimate_is_larger_than_the_weights(engine: WhisperEngine, model: ModelFiles) -> None:
    weights = model.files["model"][0].stat().st_size
    assert engine.estimate(model).ram_bytes > weights
    on_cuda = engine.estimate(replace(model, options=replace(model.options, device="cuda")))
    assert on_cuda.vram_bytes > weights


@pytest.mark.parametrize("gone", ["faster_whisper", "av"])
def test_a_missing_library_makes_the_engine_unavailable_with_a_remedy(
    monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    monkeypatch.setattr("studio_worker_whisper.engine.find_spec", lambda name: None if name == gone else object())
    remedy = getattr(WhisperEngine().availability(), "remedy", "")
    assert remedy == f"pip install {gone.replace('_', '-')}"


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({"max_audio_secs": -1}, "plugins.whisper.max_audio_secs"),
        ({"max_audio_secs": True}, "plugins.whisper.max_audio_secs"),
        ({"compute_type": 8}, "plugins.whisper.compute_type"),
        ({"device": ["cuda"]}, "plugins.whisper.device"),
    ],
)
def test_a_wrong_setting_is_named(table: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        studio_worker_engines(PluginConfig(table))


def test_the_operators_settings_are_used(model: ModelFiles) -> None:
    (engine,) = studio_worker_engines(PluginConfig({"compute_type": "float32", "max_audio_secs": 10}))
    assert engine.load(model).compute_type == "float32"


def test_a_vocabulary_of_another_model_ends_the_job_for_good(
    engine: WhisperEngine, job: Any, model: ModelFiles, speech: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    for path in model.files["model"]:
        (folder / path.name).symlink_to(path)
    (folder / "vocabulary.txt").unlink()
    (folder / "vocabulary.txt").write_text("a\nb\nc\n")
    mixed = replace(model, files={"model": sorted(folder.iterdir())}, dir=folder)
    made = job(speech)
    made.loaded = engine.load(mixed)
    with pytest.raises(EngineError, match=r"the files of tiny\.en do not belong together") as error:
        engine.run(made)
    assert not error.value.retryable
