"""The engine: a text goes in, a WAV file at the voice's own rate comes out."""

from __future__ import annotations

import wave
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio_worker import (
    AudioResult,
    Available,
    BadInput,
    Engine,
    EngineCapabilities,
    EngineError,
    EngineJob,
    Estimate,
    ModelFiles,
    PluginConfig,
    TaskKind,
    Unavailable,
    UnsupportedTask,
    hookimpl,
)
from studio_worker_piper.encoding import check_ext, encode

if TYPE_CHECKING:
    from studio_worker_piper.voice import Voice

MAX_AUDIO_SECS = 4 * 3600.0
"""Seconds of speech that one job may ask for, unless the operator says otherwise."""


class PiperEngine(Engine):
    """Speaks a text with a Piper voice, on the CPU.

    The model files of a claim are one ``.onnx`` (role ``model``) and its ``.onnx.json`` (role ``config`` or
    ``model``, or simply beside it).

    Args:
        max_audio_secs: the longest speech that a job may ask for.
        steady: speak without the network's own variation, so that the same text gives the same bytes.
    """

    name = "piper"

    def __init__(self, *, max_audio_secs: float = MAX_AUDIO_SECS, steady: bool = False) -> None:
        self._max_audio_secs = max_audio_secs
        self._steady = steady
        self.deterministic = steady

    def capabilities(self) -> EngineCapabilities:
        """Any Piper voice that a claim brings."""
        return EngineCapabilities({TaskKind.AUDIO_TTS: ["piper:*"]})

    def availability(self) -> Available | Unavailable:
        """Whether piper-tts is installed."""
        if find_spec("piper") is None:
            return Unavailable("the package piper-tts is not installed", "pip install piper-tts")
        return Available()

    def estimate(self, model: ModelFiles) -> Estimate:
        """The network's size and what one piece of speech takes."""
        onnx, _ = voice_files(model.files)
        return Estimate(ram_bytes=2 * onnx.stat().st_size + 150_000_000)

    def load(self, model: ModelFiles) -> Voice:
        """Load the voice.

        Raises:
            EngineError: the files are no Piper voice.
        """
        from studio_worker_piper.voice import load_voice

        onnx, config = voice_files(model.files)
        return load_voice(onnx, config, threads=model.options.threads)

    def run(self, job: EngineJob) -> AudioResult:
        """Speak `job.task.text`, sentence by sentence, into a file.

        Raises:
            BadInput: an unknown voice, another language, nothing to speak, or too much.
            UnsupportedTask: an ext that cannot be written here.
        """
        from piper import SynthesisConfig

        from studio_worker import TtsTask

        task, voice = job.task, job.loaded
        if not isinstance(task, TtsTask):
            raise UnsupportedTask(f"piper serves audio_tts, not {task.kind}")
        check_ext(task.ext)
        voice.check_language(task.language)
        speaker = voice.speaker(task.voice)
        length_scale = voice.piper.config.length_scale / (task.speed or 1.0)
        pieces = voice.pieces(task.text, length_scale)
        if not pieces:
            raise BadInput("task.text: there is nothing in it that can be spoken")
        settings = SynthesisConfig(
            speaker_id=speaker,
            length_scale=length_scale,
            noise_scale=0.0 if self._steady else None,
            noise_w_scale=0.0 if self._steady else None,
        )
        target = job.work_dir / "speech.wav"
        seconds = self._speak(job, voice, pieces, settings, target)
        job.meta |= {"voice": task.voice if speaker is not None else voice.name, "sampleRate": voice.rate}
        job.meta["audioSecs"] = round(seconds, 3)
        if task.ext == "wav":
            return AudioResult(target, "wav")
        encoded = job.work_dir / f"encoded.{task.ext}"
        encode(target, encoded, task.ext, check_cancelled=job.check_cancelled)
        return AudioResult(encoded, task.ext)

    def _speak(self, job: EngineJob, voice: Voice, pieces: list[list[int]], settings: Any, target: Path) -> float:
        """Write all pieces to `target`; the seconds written."""
        frames = 0
        with wave.open(str(target), "wb") as sound:
            sound.setnchannels(1)
            sound.setsampwidth(2)
            sound.setframerate(voice.rate)
            for number, piece in enumerate(pieces):
                job.check_cancelled()
                job.progress(number, len(pieces), stage="speak")
                samples = voice.speak(piece, settings)
                frames += len(samples)
                if frames > self._max_audio_secs * voice.rate:
                    raise BadInput(f"task.text: it takes more than {self._max_audio_secs:g} seconds to speak")
                sound.writeframes(samples.tobytes())
        job.progress(len(pieces), len(pieces), stage="speak")
        return frames / voice.rate


def voice_files(files: Mapping[str, list[Path]]) -> tuple[Path, Path]:
    """The network and the config among a claim's files.

    Raises:
        EngineError: one of them is missing; the sentence says which and what to add.
    """
    given = [path for role in ("model", "config") for path in files.get(role, [])]
    networks = [path for path in given if path.name.endswith(".onnx")]
    if len(networks) != 1:
        raise EngineError(
            f"piper needs one .onnx file with the role model, the modelSource names {len(networks)}", retryable=False
        )
    configs = [path for path in given if path.name.endswith(".json")]
    beside = networks[0].with_name(networks[0].name + ".json")
    if not configs and beside.is_file():
        configs = [beside]
    if len(configs) != 1:
        raise EngineError(f"piper needs {beside.name}: add it to the modelSource with the role config", retryable=False)
    return networks[0], configs[0]


@hookimpl
def studio_worker_engines(config: PluginConfig) -> list[Engine]:
    """The engine, as ``[plugins.piper]`` sets it: `max_audio_secs` and `deterministic`."""
    limit = config.plugin.get("max_audio_secs", MAX_AUDIO_SECS)
    if isinstance(limit, bool) or not isinstance(limit, (int, float)) or not limit > 0:
        raise ValueError(f"plugins.piper.max_audio_secs must be a number above 0, not {limit!r}")
    steady = config.plugin.get("deterministic", False)
    if not isinstance(steady, bool):
        raise ValueError(f"plugins.piper.deterministic must be true or false, not {steady!r}")
    return [PiperEngine(max_audio_secs=float(limit), steady=steady)]
