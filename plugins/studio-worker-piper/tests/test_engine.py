from __future__ import annotations

import subprocess
import sys
import wave
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from studio_worker_piper import PiperEngine, studio_worker_engines
from studio_worker_piper.engine import voice_files

from studio_worker import BadInput, Cancelled, EngineError, ModelFiles, SttTask, TaskKind, UnsupportedTask
from studio_worker.engines.base import Available, PluginConfig
from studio_worker.wire.results import sniff_ext


def samples(path: Path) -> np.ndarray[Any, np.dtype[np.int16]]:
    with wave.open(str(path), "rb") as sound:
        assert (sound.getnchannels(), sound.getsampwidth(), sound.getframerate()) == (1, 2, 22_050)
        return np.frombuffer(sound.readframes(sound.getnframes()), "<i2")


def test_the_plugin_is_found_under_its_name_and_serves_its_source() -> None:
    found = entry_points(group="studio_worker", name="piper")
    assert [point.value for point in found] == ["studio_worker_piper"]
    (engine,) = studio_worker_engines(PluginConfig())
    assert engine.name == "piper"
    assert engine.isolation == "process"
    assert dict(engine.capabilities().models) == {TaskKind.AUDIO_TTS: ("piper:*",)}
    assert engine.availability() == Available()


def test_describing_the_engine_imports_no_heavy_library() -> None:
    code = (
        "import sys; from studio_worker_piper import PiperEngine; e = PiperEngine(); e.capabilities(); "
        "e.availability(); print([n for n in ('numpy', 'onnxruntime', 'piper', 'av', 'pydantic') if n in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_text_becomes_a_wav_file_at_the_voices_own_rate(engine: PiperEngine, job: Any, tmp_path: Path) -> None:
    made = job("The quick brown fox jumps over the lazy dog.")
    result = engine.run(made)
    assert (result.data, result.ext) == (tmp_path / "speech.wav", "wav")
    sound = samples(result.data)
    assert 1.5 < len(sound) / 22_050 < 5
    assert np.abs(sound).max() == 32_767
    assert made.meta == {
        "voice": "en_US-joe-medium",
        "sampleRate": 22_050,
        "audioSecs": round(len(sound) / 22_050, 3),
    }


def test_progress_counts_sentences(engine: PiperEngine, job: Any) -> None:
    seen: list[tuple[int, int, str]] = []
    engine.run(job("One. Two. Three.", on_progress=lambda *step: seen.append(step[:3])))
    assert seen == [(0, 3, "speak"), (1, 3, "speak"), (2, 3, "speak"), (3, 3, "speak")]


def test_a_cancelled_job_ends_at_the_next_sentence(engine: PiperEngine, job: Any) -> None:
    steps: list[int] = []

    def stop(step: int, *rest: Any) -> None:
        steps.append(step)
        made._cancel.set()

    made = job("One. Two. Three.", on_progress=stop)
    with pytest.raises(Cancelled):
        engine.run(made)
    assert steps == [0]


def test_speed_shortens_the_speech(job: Any) -> None:
    engine = PiperEngine(steady=True)
    text = "The quick brown fox jumps over the lazy dog."
    plain = len(samples(engine.run(job(text)).data))
    fast = len(samples(engine.run(job(text, speed=2.0)).data))
    slow = len(samples(engine.run(job(text, speed=0.5)).data))
    assert 0.35 < fast / plain < 0.65
    assert 1.6 < slow / plain < 2.4


def test_a_steady_voice_gives_the_same_bytes_for_the_same_text(job: Any) -> None:
    engine = PiperEngine(steady=True)
    assert engine.deterministic
    first, second = (engine.run(job("Once more. With feeling.")).data.read_bytes() for _ in range(2))
    assert first == second


def test_a_lively_voice_does_not_claim_to_be_deterministic(engine: PiperEngine) -> None:
    assert not engine.deterministic


@pytest.mark.parametrize("voice_name", ["default", "en_US-joe-medium"])
def test_the_voice_is_called_default_or_by_its_name(engine: PiperEngine, job: Any, voice_name: str) -> None:
    assert engine.run(job("Hello.", voice=voice_name)).ext == "wav"


def test_an_unknown_voice_is_refused_with_those_that_there_are(engine: PiperEngine, job: Any) -> None:
    with pytest.raises(BadInput, match=r"'alloy' is no voice of en_US-joe-medium; it has default, en_US-joe-medium$"):
        engine.run(job("Hello.", voice="alloy"))


@pytest.mark.parametrize("language", ["en", "en-US", "EN_gb"])
def test_the_voices_language_is_accepted_in_every_spelling(engine: PiperEngine, job: Any, language: str) -> None:
    assert engine.run(job("Hello.", language=language)).ext == "wav"


def test_another_language_is_refused_by_name(engine: PiperEngine, job: Any) -> None:
    with pytest.raises(BadInput, match="speaks en_US, the task asks for de-DE"):
        engine.run(job("Guten Tag.", language="de-DE"))


@pytest.mark.parametrize("text", ["...", "?", " — ", "\u200b.", "[[]]", "[[☃]]"])
def test_a_text_with_nothing_to_speak_is_refused(engine: PiperEngine, job: Any, text: str) -> None:
    with pytest.raises(BadInput, match="nothing in it that can be spoken"):
        engine.run(job(text))


@pytest.mark.parametrize(
    "text", ["😀", "中文", "a\0b", "\x1b[2J hello", "line\nline", "ＡＢＣ", "[[həˈloʊ]]", "e\u0301"]
)
def test_unusual_text_is_spoken(engine: PiperEngine, job: Any, text: str) -> None:
    assert len(samples(engine.run(job(text)).data)) > 2_000


def test_a_long_sentence_is_spoken_in_pieces(engine: PiperEngine, job: Any) -> None:
    totals: set[int] = set()
    engine.run(job("and so on " * 40, on_progress=lambda step, total, *rest: totals.add(total)))
    assert totals > {1} or totals.pop() > 1


def test_speech_over_the_limit_is_refused(job: Any) -> None:
    with pytest.raises(BadInput, match="more than 2 seconds"):
        PiperEngine(max_audio_secs=2).run(job("One two three. " * 10))


@pytest.mark.parametrize(("ext", "magic"), [("mp3", "mp3"), ("ogg", "ogg"), ("flac", "flac")])
def test_other_formats_are_written_with_pyav(
    engine: PiperEngine, job: Any, ext: str, magic: str, tmp_path: Path
) -> None:
    av = pytest.importorskip("av", reason="needs pip install av")
    made = job("The quick brown fox jumps over the lazy dog.", ext=ext)
    result = engine.run(made)
    assert (result.ext, result.data.parent) == (ext, tmp_path)
    assert sniff_ext(result.data.read_bytes()[:64]) == magic
    with av.open(str(result.data)) as container:
        seconds = sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0))
    assert seconds == pytest.approx(made.meta["audioSecs"], abs=0.15)


def test_without_pyav_another_format_is_refused_with_the_remedy_before_any_work(
    engine: PiperEngine, job: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("studio_worker_piper.encoding.find_spec", lambda name: None)
    with pytest.raises(UnsupportedTask, match=r"pip install 'studio-worker-piper\[encode\]'"):
        engine.run(job("Hello.", ext="mp3"))
    assert list(tmp_path.iterdir()) == []


def test_a_missing_library_makes_the_engine_unavailable_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("studio_worker_piper.engine.find_spec", lambda name: None)
    found = PiperEngine().availability()
    assert getattr(found, "remedy", "") == "pip install piper-tts"


def test_the_config_beside_the_network_is_found_without_a_role(model: ModelFiles) -> None:
    onnx, config = voice_files({"model": model.files["model"]})
    assert config.name == f"{onnx.name}.json"


@pytest.mark.parametrize("roles", [{"model": 2}, {"config": 1, "model": 1}, {"model": 1, "config": 1}])
def test_the_files_may_have_either_role(model: ModelFiles, roles: dict[str, int]) -> None:
    paths = [*model.files["model"], *model.files["config"]]
    given: dict[str, list[Path]] = {}
    for role, count in roles.items():
        given[role] = [paths.pop() for _ in range(count)]
    assert voice_files(given) == (model.files["model"][0], model.files["config"][0])


def test_a_task_of_another_kind_is_refused(engine: PiperEngine, job: Any) -> None:
    made = job("Hello.")
    made.task = SttTask(input_url="https://files.example/a.wav")
    with pytest.raises(UnsupportedTask, match="not audio_stt"):
        engine.run(made)


@pytest.mark.parametrize("names", [[], ["a.bin"], ["a.onnx", "b.onnx"]])
def test_other_than_one_network_is_refused(names: list[str]) -> None:
    with pytest.raises(EngineError, match=r"one \.onnx file") as error:
        voice_files({"model": [Path(name) for name in names]})
    assert not error.value.retryable


def test_a_network_without_its_config_is_refused_with_the_name_to_add(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"x")
    with pytest.raises(EngineError, match=r"a\.onnx\.json: add it") as error:
        voice_files({"model": [tmp_path / "a.onnx"]})
    assert not error.value.retryable


def test_an_estimate_is_larger_than_the_file(engine: PiperEngine, model: ModelFiles) -> None:
    assert engine.estimate(model).ram_bytes > model.files["model"][0].stat().st_size


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({"max_audio_secs": 0}, "plugins.piper.max_audio_secs"),
        ({"max_audio_secs": True}, "plugins.piper.max_audio_secs"),
        ({"max_audio_secs": "long"}, "plugins.piper.max_audio_secs"),
        ({"deterministic": 1}, "plugins.piper.deterministic"),
    ],
)
def test_a_wrong_setting_is_named(table: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        studio_worker_engines(PluginConfig(table))


def test_the_operators_settings_are_used(job: Any) -> None:
    (engine,) = studio_worker_engines(PluginConfig({"max_audio_secs": 0.5, "deterministic": True}))
    assert engine.deterministic
    with pytest.raises(BadInput, match=r"more than 0\.5 seconds"):
        engine.run(job("This takes longer than that."))
