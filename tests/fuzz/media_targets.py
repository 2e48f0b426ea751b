"""Parsers of pictures, sounds and films: a stranger's inputs, and what an engine gives."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

from studio_worker_whisper.sound import decode

from studio_worker.errors import BadInput
from studio_worker.jobs.film_boxes import BadFilm, check_mp4, check_webm
from studio_worker.jobs.input_pictures import settle_pictures
from studio_worker.jobs.picture_header import UnknownPicture, read_picture_header
from studio_worker.jobs.plan import Wanted
from studio_worker.jobs.png_chunks import BadPng, PngPlan, plain_bytes, read_png
from studio_worker.jobs.png_pixels import read_pixels
from studio_worker.jobs.wav_header import MAX_CHANNELS, MAX_RATE, BadWav, read_wav_header
from studio_worker.testing.claims import hum
from studio_worker.wire.results import sniff_ext
from studio_worker.wire.tasks import MAX_PIXELS
from tests.fuzz.changes import change_png
from tests.fuzz.target import placed, target
from tests.jobs.test_damaged_media import PICTURES
from tests.jobs.test_png_pixels import png as png_of

ROWS = b"\0\x01\x02\x03\x04\x05\x06" * 2
PNGS = [
    png_of(ROWS, width=2, height=2),
    png_of(b"\0" * 14, width=2, height=2, pieces=3),
    png_of(ROWS, width=2, height=2, stream=b"\x78\x01\x01\x0e\x00\xf1\xff" + ROWS + bytes(4)),
    PICTURES["PNG"],
]
WAV_OF_A_PIPE = hum(0.005).replace(b"data\xa0\0\0\0", b"LIST\4\0\0\0INFOdata\xff\xff\xff\xff")
MP4 = (
    *(b"\0\0\0\x10ftypisom\0\0\2\0", b"\0\0\0\x0cmoov\0\0\0\0"),
    *(b"\0\0\0\1free\0\0\0\0\0\0\0\x14free", b"\0\0\0\0mdatpictures"),
)
"""A type, an index, a box whose length takes 64 bits, and pictures to the end."""

WEBM = (
    *(b"\x1a\x45\xdf\xa3\x84head", b"\x18\x53\x80\x67\x01" + b"\xff" * 7),
    *(b"\xec\x40\x02\0\0", b"\x16\x54\xae\x6b\x82tr", b"\x1f\x43\xb6\x75\x88pictures"),
)
"""A head, a segment whose length nobody knows, an empty space, tracks, pictures."""


@target(BadPng, seeds=PNGS, change=change_png)
def png(data: bytes, folder: Path) -> None:
    plan = read_png(io.BytesIO(data), len(data))
    plain_bytes(data[:33])
    if not plan.is_plain:
        return
    # Data that was stored is looked at without a copy; both ways must come to the same.
    streamed = _pixels(io.BufferedReader(io.BytesIO(data)), plan)
    held = _pixels(io.BytesIO(data), plan)
    assert held == streamed
    if isinstance(held, str):
        raise BadPng(held)


def _pixels(file: io.BytesIO | io.BufferedReader, plan: PngPlan) -> bool | str:
    try:
        return read_pixels(file, plan)
    except BadPng as error:
        return str(error)


@target(UnknownPicture, seeds=PICTURES.values())
def picture_header(data: bytes, folder: Path) -> None:
    header = read_picture_header(io.BytesIO(data))
    assert header.format.lower().replace("jpeg", "jpg") == sniff_ext(data[:64])
    assert min(header.width, header.height) >= 0


# A picture of 64 megapixels is taken, and takes a gigabyte.
@target(BadInput, seeds=PICTURES.values(), rss_mb=3_072)
def input_picture(data: bytes, folder: Path) -> None:
    from PIL import Image

    placed(data, folder, "input-image")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = [Wanted("image", "task.initImageUrl", "https://example.org/a", len(data))]
        settled = settle_pictures(wanted, {"image": folder / "input-image"})
        with Image.open(settled["image"]) as picture:
            assert picture.width * picture.height <= MAX_PIXELS
            picture.load()


@target(BadWav, seeds=[hum(0.005), WAV_OF_A_PIPE])
def wav(data: bytes, folder: Path) -> None:
    header = read_wav_header(io.BytesIO(data), len(data))
    assert 1 <= header.channels <= MAX_CHANNELS
    assert 1 <= header.rate <= MAX_RATE
    assert 0 < header.start < header.start + header.data_bytes <= len(data)
    assert header.seconds is None or header.seconds > 0


@target(BadFilm, seeds=[b"".join(MP4)])
def mp4(data: bytes, folder: Path) -> None:
    check_mp4(io.BytesIO(data), len(data))


@target(BadFilm, seeds=[b"".join(WEBM)])
def webm(data: bytes, folder: Path) -> None:
    check_webm(io.BytesIO(data), len(data))


@target(BadInput, seeds=[hum(0.05)])
def input_sound(data: bytes, folder: Path) -> None:
    path = placed(data, folder, "input-audio")
    samples = decode(path, folder / "heard.pcm", limit_secs=60, check_cancelled=lambda: None)
    assert (folder / "heard.pcm").stat().st_size == 2 * samples > 0
