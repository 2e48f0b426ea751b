"""Speech as MP3, Ogg Opus or FLAC, with PyAV where it is installed."""

from __future__ import annotations

import wave
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from studio_worker import UnsupportedTask

_BATCH_FRAMES = 48_000

_CODECS = {"mp3": ("libmp3lame", "s16p", None), "ogg": ("libopus", "s16", 48_000), "flac": ("flac", "s16", None)}
"""ext to encoder, sample format and rate in Hz (None: the voice's own); Opus knows few rates."""


def check_ext(ext: str) -> None:
    """Say before the work begins whether speech can be written as `ext`.

    Raises:
        UnsupportedTask: with the command that would help.
    """
    if ext == "wav":
        return
    if ext not in _CODECS:
        raise UnsupportedTask(f"task.ext: piper writes wav, {', '.join(_CODECS)}, not {ext}")
    if find_spec("av") is None:
        raise UnsupportedTask(
            f"task.ext: piper writes {ext} only where PyAV is installed; "
            "ask for wav, or: pip install 'studio-worker-piper[encode]'"
        )


def encode(source: Path, target: Path, ext: str, *, check_cancelled: Callable[[], None]) -> None:
    """Write the 16-bit mono WAV file `source` as `ext` to `target`."""
    import av
    import numpy as np

    codec, sample_format, wanted_rate = _CODECS[ext]
    with wave.open(str(source), "rb") as sound, av.open(str(target), "w", format=ext) as container:
        rate = sound.getframerate()
        stream = container.add_stream(codec, rate=wanted_rate or rate, layout="mono", format=sample_format)
        assert isinstance(stream, av.AudioStream)
        resampler = av.AudioResampler(format=sample_format, layout="mono", rate=wanted_rate or rate)
        position = 0
        while data := sound.readframes(_BATCH_FRAMES):
            check_cancelled()
            frame = av.AudioFrame.from_ndarray(np.frombuffer(data, "<i2")[np.newaxis, :], format="s16", layout="mono")
            frame.sample_rate, frame.pts = rate, position
            position += frame.samples
            for ready in resampler.resample(frame):
                container.mux(stream.encode(ready))
        for ready in resampler.resample(None):
            container.mux(stream.encode(ready))
        container.mux(stream.encode(None))
