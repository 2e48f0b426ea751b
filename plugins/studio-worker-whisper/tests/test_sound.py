from __future__ import annotations

import contextlib
import socket
import struct
import threading
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from studio_worker_whisper.sound import RATE, WINDOW_SECS, decode, sniff, windows

from studio_worker import BadInput, Cancelled

FORMATS = [
    ("wav", "pcm_s16le"),
    ("wav", "pcm_f32le"),
    ("wav", "pcm_u8"),
    ("mp3", "libmp3lame"),
    ("ogg", "libopus"),
    ("flac", "flac"),
    ("ipod", "aac"),
    ("mp4", "alac"),
    ("webm", "libopus"),
]


def tone(seconds: float, rate: int = 48_000) -> Any:
    return (np.sin(np.arange(int(seconds * rate)) * 440 * 2 * np.pi / rate) * 12_000).astype(np.int16)


def never() -> None:
    """Nobody cancels."""


def heard(path: Path, target: Path, limit: float = 60) -> Any:
    total = decode(path, target, limit_secs=limit, check_cancelled=never)
    samples = np.fromfile(target, dtype="<i2")
    assert len(samples) == total
    return samples


def refused(path: Path, tmp_path: Path, limit: float = 60) -> str:
    with pytest.raises(BadInput) as error:
        decode(path, tmp_path / "out.pcm", limit_secs=limit, check_cancelled=never)
    assert str(error.value).startswith("task.inputUrl: ")
    return str(error.value)


def wav(
    *, channels: int = 1, rate: int = 16_000, bits: int = 16, tag: int = 1, data: bytes = b"", claims: int | None = None
) -> bytes:
    """A WAV file whose header says what the test wants."""
    block = channels * bits // 8
    header = struct.pack("<HHIIHH", tag, channels, rate, (rate * block) & 0xFFFFFFFF, block & 0xFFFF, bits)
    size = len(data) if claims is None else claims
    return (
        struct.pack("<4sI4s4sI", b"RIFF", min(36 + size, 2**32 - 1), b"WAVE", b"fmt ", 16)
        + header
        + struct.pack("<4sI", b"data", size)
        + data
    )


@pytest.fixture
def tripwire() -> Iterator[int]:
    """A port on loopback, TCP and UDP, at which nobody may knock."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        visits: list[Any] = []
        watcher = threading.Thread(target=lambda: _accept(server, visits), daemon=True)
        watcher.start()
        yield port
        server.shutdown(socket.SHUT_RDWR)
        watcher.join(5)
    assert visits == []


def _accept(server: socket.socket, visits: list[Any]) -> None:
    while True:
        try:
            visits.append(server.accept())
        except OSError:
            return


@pytest.mark.parametrize(("container", "codec"), FORMATS)
def test_every_format_is_heard_at_16_khz(sound_file: Any, tmp_path: Path, container: str, codec: str) -> None:
    path = sound_file(tmp_path / "input", container, codec, tone(2))
    samples = heard(path, tmp_path / "out.pcm")
    assert len(samples) / RATE == pytest.approx(2, abs=0.15)
    loud = samples[RATE // 2 : RATE].astype(float)
    assert 6_000 < np.sqrt((loud**2).mean()) < 11_000
    crossings = np.count_nonzero(np.diff(np.signbit(loud)))
    assert crossings == pytest.approx(440, abs=6)


def test_stereo_becomes_mono(tmp_path: Path) -> None:
    left = tone(1, 16_000)
    with wave.open(str(tmp_path / "a.wav"), "wb") as out:
        out.setparams((2, 2, 16_000, 0, "NONE", ""))
        out.writeframes(np.column_stack([left, left]).astype("<i2").tobytes())
    assert np.abs(heard(tmp_path / "a.wav", tmp_path / "out.pcm") - left.astype(int)).max() <= 2


@pytest.mark.parametrize("name", ["concat:a|b.wav", "http:x", "-i", "100%d.wav", "ünï.wav", "a b;c"])
def test_the_files_name_is_never_read_as_anything_else(sound_file: Any, tmp_path: Path, name: str) -> None:
    path = sound_file(tmp_path / "input", "wav", "pcm_s16le", tone(0.1)).rename(tmp_path / name)
    assert len(heard(path, tmp_path / "out.pcm"))


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"RIFF\0\0\0\0WAVE", "wav"),
        (b"RF64\xff\xff\xff\xffWAVE", "wav"),
        (b"RIFF\0\0\0\0WEBP", None),
        (b"ID3\x04", "mp3"),
        (b"\xff\xfb\x90\x00", "mp3"),
        (b"\xff\xf1\x50\x80", None),
        (b"OggS\0", "ogg"),
        (b"fLaC", "flac"),
        (b"\0\0\0\x20ftypM4A ", "mov"),
        (b"\x1aE\xdf\xa3", "matroska"),
        (b"<!DOCTYPE html>", None),
        (b"#EXTM3U", None),
        (b"v=0\r\n", None),
        (b"ffconcat version 1.0", None),
        (b"", None),
        (b"\xff", None),
    ],
)
def test_the_first_bytes_decide_what_a_file_is(head: bytes, kind: str | None) -> None:
    assert sniff(head) == kind


@pytest.mark.parametrize(
    "text",
    [
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio {port} RTP/AVP 0\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:{port}/a.ts\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile http://127.0.0.1:{port}/a.wav\n",
        '<?xml version="1.0"?><MPD><BaseURL>http://127.0.0.1:{port}/</BaseURL></MPD>',
        "concat:http://127.0.0.1:{port}/a.wav",
    ],
)
@pytest.mark.parametrize("magic", [b"", b"RIFF\0\0\0\0WAVE", b"OggS", b"fLaC", b"\0\0\0\x20ftypM4A ", b"ID3\x04"])
def test_a_text_that_names_an_address_is_refused_and_nobody_is_asked(
    tripwire: int, tmp_path: Path, text: str, magic: bytes
) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(magic + text.format(port=tripwire).encode())
    assert "task.inputUrl" in refused(path, tmp_path)


def test_what_is_no_audio_is_refused_with_its_first_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"<!DOCTYPE html><title>Log in</title>")
    assert "not audio; it starts with b'<!DOCTYPE ht'" in refused(tmp_path / "a.wav", tmp_path)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    assert "empty" in refused(tmp_path / "a.wav", tmp_path)


@pytest.mark.parametrize(
    "header",
    [
        {"claims": 2**32 - 1},
        {"channels": 0, "data": b"\0" * 100},
        {"channels": 255, "data": b"\0" * 5_100},
        {"channels": 65_535, "data": b"\0" * 5_100},
        {"rate": 0, "data": b"\0" * 100},
        {"rate": 10**9, "data": b"\0" * 100},
        {"rate": 1, "data": b"\0" * 100},
        {"bits": 0, "data": b"\0" * 100},
        {"bits": 200, "data": b"\0" * 100},
        {"tag": 0xFFFE, "data": b"\0" * 100},
        {"tag": 0x2000, "data": b"\0" * 100},
        {"tag": 0x1234, "data": b"\0" * 100},
    ],
)
def test_a_wav_header_that_lies_is_refused(tmp_path: Path, header: dict[str, Any]) -> None:
    (tmp_path / "a.wav").write_bytes(wav(**header))
    assert str(tmp_path) not in refused(tmp_path / "a.wav", tmp_path)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(("bits", "kind"), [(32, "<f4"), (64, "<f8")])
def test_samples_that_are_no_numbers_are_refused(tmp_path: Path, number: float, bits: int, kind: str) -> None:
    data = np.zeros(1_000, dtype=kind)
    data[700] = number
    (tmp_path / "a.wav").write_bytes(wav(tag=3, bits=bits, data=data.tobytes()))
    assert "no numbers" in refused(tmp_path / "a.wav", tmp_path)


@pytest.mark.parametrize("number", [1e5, -1e30])
def test_a_float_far_beyond_full_scale_is_refused(tmp_path: Path, number: float) -> None:
    (tmp_path / "a.wav").write_bytes(wav(tag=3, bits=32, data=np.full(1_000, number, "<f4").tobytes()))
    assert "no numbers between" in refused(tmp_path / "a.wav", tmp_path)


def test_a_float_a_little_beyond_full_scale_is_clipped(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(wav(tag=3, bits=32, data=np.full(1_000, 1.5, "<f4").tobytes()))
    assert heard(tmp_path / "a.wav", tmp_path / "out.pcm").max() == 32_767


def test_hours_in_a_few_kilobytes_are_cut_at_the_limit_while_decoding(sound_file: Any, tmp_path: Path) -> None:
    path = sound_file(tmp_path / "a.flac", "flac", "flac", np.zeros(600 * 8_000), 8_000)
    assert path.stat().st_size < 120_000
    assert "longer than 5 seconds" in refused(path, tmp_path, limit=5)
    assert (tmp_path / "out.pcm").stat().st_size <= 5 * RATE * 2


def test_a_sound_of_just_the_limit_is_heard(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(wav(data=b"\0" * (2 * RATE)))
    assert len(heard(tmp_path / "a.wav", tmp_path / "out.pcm", limit=1)) == RATE


@pytest.mark.parametrize(("container", "codec"), FORMATS)
def test_a_file_cut_in_the_middle_is_heard_so_far_or_refused(
    sound_file: Any, tmp_path: Path, container: str, codec: str
) -> None:
    path = sound_file(tmp_path / "input", container, codec, tone(2))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    try:
        samples = heard(path, tmp_path / "out.pcm")
    except BadInput:
        return
    assert 0 < len(samples) < 2.1 * RATE


@pytest.mark.parametrize(("container", "codec"), FORMATS)
@pytest.mark.parametrize("seed", range(4))
def test_scrambled_bytes_never_raise_another_error(
    sound_file: Any, tmp_path: Path, container: str, codec: str, seed: int
) -> None:
    path = sound_file(tmp_path / "input", container, codec, tone(0.5))
    data = bytearray(path.read_bytes())
    random = np.random.default_rng(seed)
    for at in random.integers(12, len(data), 60):
        data[at] = random.integers(0, 256)
    path.write_bytes(data)
    with contextlib.suppress(BadInput):
        heard(path, tmp_path / "out.pcm")


def test_a_film_without_sound_is_refused(tmp_path: Path) -> None:
    import av

    with av.open(str(tmp_path / "a.mp4"), "w", format="mp4") as out:
        stream = out.add_stream("mpeg4", rate=5, width=16, height=16, pix_fmt="yuv420p")
        out.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), "rgb24")))
        out.mux(stream.encode(None))
    assert "no sound track" in refused(tmp_path / "a.mp4", tmp_path)


def test_decoding_ends_where_the_job_is_cancelled(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(wav(data=b"\0" * 64_000))

    def cancelled() -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        decode(tmp_path / "a.wav", tmp_path / "out.pcm", limit_secs=60, check_cancelled=cancelled)


def test_short_sound_is_one_window(tmp_path: Path) -> None:
    samples = tone(3, RATE)
    (tmp_path / "a.pcm").write_bytes(samples.astype("<i2").tobytes())
    ((start, piece),) = windows(tmp_path / "a.pcm", len(samples))
    assert start == 0
    assert piece.dtype == np.float32
    assert np.array_equal((piece * 32_768).astype(np.int16), samples)


def test_long_sound_is_cut_where_it_is_quiet_and_nothing_is_lost(tmp_path: Path) -> None:
    samples = np.full(RATE * (WINDOW_SECS + 60), 1_000, dtype="<i2")
    quiet = RATE * (WINDOW_SECS - 10)
    samples[quiet - RATE // 2 : quiet + RATE // 2] = 0
    samples[0] = 7
    samples.tofile(tmp_path / "a.pcm")
    (first, head), (second, tail) = windows(tmp_path / "a.pcm", len(samples))
    assert first == 0
    assert abs(second - (WINDOW_SECS - 10)) < 0.5
    assert second == len(head) / RATE
    assert np.array_equal((np.concatenate([head, tail]) * 32_768).astype(np.int16), samples)
