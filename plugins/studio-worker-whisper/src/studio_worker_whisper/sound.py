"""A stranger's sound file as 16 kHz mono samples on disk.

FFmpeg guesses formats by content and follows what a file names: a session description called .wav makes it open UDP
sockets, a playlist makes it fetch. So the first bytes decide, one demuxer is forced, only local files may be opened,
and what comes out is counted while it is decoded, since ten kilobytes of FLAC can hold hours.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np

from studio_worker import BadInput

if TYPE_CHECKING:
    from numpy.typing import NDArray

RATE = 16_000
"""Samples a second that Whisper hears."""

WINDOW_SECS = 300
"""Seconds looked at together: Whisper's features take about 0.9 MB a second while they are made."""

_QUIET_SECS = 30
_STEP = RATE // 10

_DEMUXERS = ("wav", "mp3", "ogg", "flac", "mov", "matroska")

_CODECS = frozenset({"mp3", "mp3float", "mp2", "mp2float", "aac", "opus", "libopus", "vorbis", "flac", "alac"})
_CODEC_FAMILIES = ("pcm_", "adpcm_ms", "adpcm_ima_wav")

_LOUDEST = 1_000.0
"""Floats from -1 to 1 are sound; a little more is clipped, far more or NaN would overflow the conversion."""

_MAX_CHANNELS = 16
_RATES = range(1_000, 768_001)


def sniff(head: bytes) -> str | None:
    """The demuxer for a file that starts with `head`: WAV, MP3, Ogg, FLAC, MP4 or WebM; None for anything else."""
    if head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
        return "wav"
    if head[:4] == b"OggS":
        return "ogg"
    if head[:4] == b"fLaC":
        return "flac"
    if head[4:8] == b"ftyp":
        return "mov"
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return "matroska"
    if head[:3] == b"ID3" or (len(head) > 1 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2):
        return "mp3"
    return None


def decode(source: Path, target: Path, *, limit_secs: float, check_cancelled: Callable[[], None]) -> int:
    """Decode the sound of `source` into `target` as 16-bit mono at `RATE`, little-endian, without a header.

    Args:
        source: a file from a stranger.
        target: the file to write.
        limit_secs: the most seconds to decode.
        check_cancelled: called now and then; may raise.

    Returns:
        The number of samples, at least one.

    Raises:
        BadInput: not audio, damaged, silent about its shape, or too long.
    """
    with source.open("rb") as file:
        head = file.read(64)
    demuxer = sniff(head)
    if demuxer is None:
        raise BadInput(
            f"task.inputUrl: not audio; it starts with {head[:12]!r}, WAV, MP3, Ogg, FLAC, M4A and WebM are read"
            if head
            else "task.inputUrl: the file is empty"
        )
    try:
        total = _decode(source, target, demuxer, int(limit_secs * RATE), check_cancelled)
    except (av.FFmpegError, ValueError) as error:
        # FFmpeg's own words; with them come its number and the path.
        why = error.strerror if isinstance(error, av.FFmpegError) else error
        raise BadInput(f"task.inputUrl: the {demuxer} file cannot be decoded: {why}") from error
    if total == 0:
        raise BadInput(f"task.inputUrl: the {demuxer} file holds no sound")
    return total


def _decode(source: Path, target: Path, demuxer: str, limit: int, check_cancelled: Callable[[], None]) -> int:
    assert demuxer in _DEMUXERS
    options = {"protocol_whitelist": "file", "format_whitelist": ",".join(_DEMUXERS)}
    total = 0
    with av.open(f"file:{source.resolve()}", format=demuxer, options=options, metadata_errors="ignore") as container:
        stream = _sound_stream(container)
        resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
        with target.open("wb") as out:
            for frame in itertools.chain(_frames(container, stream), [None]):
                check_cancelled()
                for ready in resampler.resample(frame):
                    samples = ready.to_ndarray().astype("<i2", copy=False).reshape(-1)
                    total += len(samples)
                    if total > limit:
                        raise BadInput(f"task.inputUrl: the sound is longer than {limit / RATE:g} seconds")
                    out.write(samples.tobytes())
    return total


def _sound_stream(container: av.container.InputContainer) -> av.AudioStream:
    if not container.streams.audio:
        raise BadInput("task.inputUrl: the file has no sound track")
    stream = container.streams.audio[0]
    context = stream.codec_context
    if context is None:
        raise BadInput("task.inputUrl: the sound is coded in a way that is not known")
    codec, channels, rate = context.name, context.layout.nb_channels, context.sample_rate or 0
    if codec not in _CODECS and not codec.startswith(_CODEC_FAMILIES):
        raise BadInput(f"task.inputUrl: sound coded as {codec} is not read")
    if not 1 <= channels <= _MAX_CHANNELS:
        raise BadInput(f"task.inputUrl: the sound has {channels} channels, 1 to {_MAX_CHANNELS} are read")
    if rate not in _RATES:
        raise BadInput(f"task.inputUrl: the sound has {rate} samples a second, {_RATES[0]} to {_RATES[-1]} are read")
    return stream


def _frames(container: av.container.InputContainer, stream: av.AudioStream) -> Iterator[av.AudioFrame]:
    """The sound's frames; packets that are damaged are left out, as players do."""
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except av.error.InvalidDataError:
            continue
        for frame in frames:
            assert isinstance(frame, av.AudioFrame)
            if frame.format.name.startswith(("flt", "dbl")) and not (np.abs(frame.to_ndarray()) <= _LOUDEST).all():
                raise BadInput(f"task.inputUrl: the sound holds samples that are no numbers between ±{_LOUDEST:g}")
            frame.pts = None
            yield frame


def windows(path: Path, total: int) -> Iterator[tuple[float, NDArray[np.float32]]]:
    """Decoded sound piece by piece: where each starts, in seconds, and its samples from -1 to 1.

    A cut falls where the last seconds of a piece are quietest, so that few words are cut.
    """
    start = 0
    while start < total:
        count = min(WINDOW_SECS * RATE, total - start)
        samples = np.fromfile(path, dtype="<i2", count=count, offset=2 * start).astype(np.float32)
        samples *= np.float32(1 / 32_768)
        if start + count < total:
            samples = samples[: _quietest(samples)]
        yield start / RATE, samples
        start += len(samples)


def _quietest(samples: NDArray[np.float32]) -> int:
    """Where to cut: the middle of the quietest half second of the last half minute."""
    tail = samples[len(samples) - _QUIET_SECS * RATE :]
    loudness = np.abs(tail).reshape(-1, _STEP).mean(axis=1)
    calm = np.convolve(loudness, np.ones(5), mode="valid")
    return len(samples) - len(tail) + (int(np.argmin(calm)) * 2 + 5) * _STEP // 2
