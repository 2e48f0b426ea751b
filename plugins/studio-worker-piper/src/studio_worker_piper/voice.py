"""A Piper voice, loaded once: its network, its speakers, its language, and its text cut into pieces fit to speak."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from onnxruntime import InferenceSession, SessionOptions
from piper import PiperConfig, PiperVoice, SynthesisConfig

from studio_worker import BadInput, EngineError, ModelUnavailable, check_onnx

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_PIECE = 200
"""Phonemes spoken at once. The network's memory grows with the square of them: 1,000 took 0.8 GB, 3,000 took 3 GB."""

_MIN_PIECE = 40
_FULL_SCALE = 32_767
_RATES = range(1_000, 192_001)
_MAX_SCALE = 10.0
"""Of length and noise; the network's memory grows with the first of them as well."""


@dataclass(frozen=True, slots=True)
class Voice:
    """What `load` makes and `run` speaks with.

    Attributes:
        name: the voice's own name, from its file.
        piper: the loaded voice.
        language: its language as a tag (``en_US``), empty where the config does not say.
        rate: its sample rate in Hz.
    """

    name: str
    piper: PiperVoice
    language: str
    rate: int

    @property
    def speakers(self) -> Mapping[str, int]:
        """Speaker names to ids, in the config's order; numbers as names where the config has none."""
        config = self.piper.config
        if config.num_speakers <= 1:
            return {}
        return config.speaker_id_map or {str(number): number for number in range(config.num_speakers)}

    def speaker(self, wanted: str) -> int | None:
        """The id of a speaker; None for a voice with one speaker, or for its default.

        Args:
            wanted: ``default``, the voice's own name, or a speaker's name or id.

        Raises:
            BadInput: there is no such voice; the sentence names those that there are.
        """
        if wanted in ("default", self.name):
            return None
        if wanted in self.speakers:
            return self.speakers[wanted]
        if wanted.isdecimal() and int(wanted) in self.speakers.values():
            return int(wanted)
        names = ["default", self.name, *self.speakers]
        more = f" and {len(names) - 20} more" if len(names) > 20 else ""
        raise BadInput(f"task.voice: {wanted!r} is no voice of {self.name}; it has {', '.join(names[:20])}{more}")

    def check_language(self, wanted: str | None) -> None:
        """Refuse a text in another language than the voice's.

        Raises:
            BadInput: names both languages.
        """
        if wanted and self.language and _primary(wanted) != _primary(self.language):
            raise BadInput(f"task.language: the voice {self.name} speaks {self.language}, the task asks for {wanted}")

    def pieces(self, text: str, length_scale: float) -> list[list[int]]:
        """A text as phoneme ids, sentence by sentence; a sentence too long to speak at once is cut at its spaces."""
        known = self.piper.config.phoneme_id_map
        limit = max(_MIN_PIECE, int(MAX_PIECE / max(1.0, length_scale)))
        return [
            self.piper.phonemes_to_ids(piece)
            for sentence in self.piper.phonemize(text.replace("\0", " "))
            for piece in _cut([phoneme for phoneme in sentence if phoneme in known], limit)
            if any(phoneme.isalnum() for phoneme in piece)
        ]

    def speak(self, piece: list[int], settings: SynthesisConfig) -> NDArray[np.int16]:
        """One piece as 16-bit mono samples, its loudest sample at full scale."""
        samples = self.piper.phoneme_ids_to_audio(piece, settings)
        audio = np.atleast_1d(np.asarray(samples[0] if isinstance(samples, tuple) else samples, dtype=np.float32))
        peak = float(np.max(np.abs(audio), initial=0.0))
        if not np.isfinite(peak):
            raise EngineError(f"the voice {self.name} made samples that are no numbers", retryable=False)
        # Rounded, not cut: the loudest sample would lie one below full scale in one piece of seven.
        scaled: NDArray[np.float32] = np.rint(audio * (_FULL_SCALE / peak if peak > 1e-8 else 0.0))
        return scaled.astype("<i2")


def load_voice(model: Path, config: Path, *, threads: int | None) -> Voice:
    """Load a voice on the CPU.

    Args:
        model: the ``.onnx`` file.
        config: the ``.onnx.json`` that belongs to it.
        threads: CPU threads, None for one a core.

    Raises:
        EngineError: a file is no Piper voice, or refers to other files; another try cannot help, unless a file cannot
            be read.
    """
    try:
        raw: dict[str, Any] = json.loads(config.read_bytes())
        parsed = PiperConfig.from_dict(raw)
        _check(parsed)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise EngineError(f"{config.name} is no config of a Piper voice: {error!r:.200}", retryable=False) from error
    try:
        # ONNX Runtime would open whatever files the network names.
        check_onnx(model, model.name)
    except ModelUnavailable as error:
        raise EngineError(f"{model.name} is no Piper voice: {error}", retryable=False) from None
    except OSError as error:
        raise EngineError(f"{model.name} cannot be read: {error.strerror or error}") from error
    options = SessionOptions()
    options.log_severity_level = 3
    if threads:
        options.intra_op_num_threads = threads
    try:
        session = InferenceSession(str(model), sess_options=options, providers=["CPUExecutionProvider"])
    except Exception as error:
        if "alloc" in str(error).lower():
            raise
        raise EngineError(f"{model.name} is no Piper voice: {error}", retryable=False) from error
    return Voice(
        name=model.name.removesuffix(".onnx"),
        piper=PiperVoice(session=session, config=parsed),
        language=_language(raw),
        rate=parsed.sample_rate,
    )


def _check(config: PiperConfig) -> None:
    """Refuse by ValueError what the library takes unseen, and would stumble over only while it speaks."""
    numbers: dict[str, object] = {"num_speakers": config.num_speakers, "sample_rate": config.sample_rate}
    scales: dict[str, object] = {
        "length_scale": config.length_scale,
        "noise_scale": config.noise_scale,
        "noise_w": config.noise_w_scale,
    }
    maps: dict[str, object] = {"phoneme_id_map": config.phoneme_id_map, "speaker_id_map": config.speaker_id_map or {}}
    for name, number in numbers.items():
        if type(number) is not int or number < 0:
            raise ValueError(f"{name} is no whole number")
    for name, scale in scales.items():
        if isinstance(scale, bool) or not isinstance(scale, int | float) or not 0 <= scale <= _MAX_SCALE:
            raise ValueError(f"{name} is no number from 0 to {_MAX_SCALE:g}")
    for name, ids in maps.items():
        if not isinstance(ids, dict) or not all(_are_ids(value) for value in ids.values()):
            raise ValueError(f"{name} does not lead to numbers")
    voice: object = config.espeak_voice
    if config.sample_rate not in _RATES or config.length_scale == 0 or not isinstance(voice, str):
        raise ValueError(f"no sound has its sample_rate, or no speech its length_scale or its voice {voice!r:.80}")


def _are_ids(value: object) -> bool:
    """One number that a network may know something by, or a list of them."""
    return all(type(item) is int and 0 <= item < 2**31 for item in (value if isinstance(value, list) else [value]))


def _language(raw: Mapping[str, Any]) -> str:
    language = raw.get("language")
    code = language.get("code") if isinstance(language, Mapping) else None
    return str(code or raw["espeak"]["voice"] or "")


def _primary(tag: str) -> str:
    return tag.replace("_", "-").split("-", 1)[0].lower()


def _cut(phonemes: list[str], limit: int) -> Iterator[list[str]]:
    """Pieces of at most `limit` phonemes, cut at the last space where there is one."""
    while len(phonemes) > limit:
        at = next((at for at in range(limit, limit // 2, -1) if phonemes[at - 1] == " "), limit)
        yield phonemes[:at]
        phonemes = phonemes[at:]
    if phonemes:
        yield phonemes
