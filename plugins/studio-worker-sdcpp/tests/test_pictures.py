from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from spoiled import damaged
from studio_worker_sdcpp.pictures import Canvas, check_size, encode_picture, fit, read_mask, read_picture

from studio_worker import BadInput, UnsupportedTask
from studio_worker.jobs.input_pictures import settle_pictures
from studio_worker.jobs.plan import Wanted

Save = Callable[..., Path]
FIELD = "task.initImageUrl"

ON_ITS_SIDE = Image.Exif()
ON_ITS_SIDE[0x0112] = 6


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(3).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    ("size", "work"), [((64, 64), (64, 64)), ((1, 1), (64, 64)), ((65, 50), (128, 64)), ((1080, 1920), (1088, 1920))]
)
def test_the_work_size_is_rounded_up(size: tuple[int, int], work: tuple[int, int]) -> None:
    assert Canvas(*size).work_size == work


@pytest.mark.parametrize("size", [(64, 64), (1, 1), (65, 50), (63, 127)])
def test_what_is_laid_on_the_canvas_is_cut_out_unchanged(size: tuple[int, int]) -> None:
    canvas, picture = Canvas(*size), noise(*size)
    laid = canvas.lay(picture)
    assert laid.size == canvas.work_size
    assert canvas.cut(laid).tobytes() == picture.tobytes()


def test_the_rim_of_the_canvas_is_not_black() -> None:
    laid = Canvas(20, 20).lay(Image.new("RGB", (20, 20), (200, 100, 50)))
    assert laid.getcolors() == [(64 * 64, (200, 100, 50))]


@pytest.mark.parametrize("format_", ["PNG", "JPEG", "WEBP"])
def test_the_three_formats_are_read_whatever_the_name(saved: Save, format_: str) -> None:
    assert read_picture(saved(noise(9, 7), "input.psd", format_), FIELD).size == (9, 7)


@pytest.mark.parametrize("format_", ["GIF", "BMP", "TIFF", "EPS", "PPM", "ICO", "TGA"])
def test_other_formats_are_refused(saved: Save, format_: str) -> None:
    with pytest.raises(BadInput, match=r"task\.initImageUrl: not a picture; PNG, JPEG and WebP are read"):
        read_picture(saved(noise(16, 16), "input.png", format_), FIELD)


@pytest.mark.parametrize("data", [b"", b"<svg/>", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF\0\0\0\0WEBP"])
def test_what_is_no_picture_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "input").write_bytes(data)
    with pytest.raises(BadInput, match=r"^task\.initImageUrl: "):
        read_picture(tmp_path / "input", FIELD)


@pytest.mark.parametrize("format_", ["PNG", "JPEG", "WEBP"])
def test_a_picture_that_has_been_cut_is_refused_without_its_path(saved: Save, tmp_path: Path, format_: str) -> None:
    path = saved(noise(64, 64), "input", format_)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(BadInput, match=r"task\.initImageUrl: the picture cannot be decoded") as error:
        read_picture(path, FIELD)
    assert str(tmp_path) not in str(error.value)


@pytest.mark.parametrize(
    ("picture", "colour"),
    [
        (Image.new("L", (2, 2), 77), (77, 77, 77)),
        (Image.new("RGB", (2, 2), (1, 2, 3)), (1, 2, 3)),
        (Image.new("RGBA", (2, 2), (255, 0, 0, 255)), (255, 0, 0)),
        (Image.new("RGBA", (2, 2), (0, 0, 0, 0)), (255, 255, 255)),
    ],
)
def test_grey_rgb_and_rgba_become_rgb(saved: Save, picture: Image.Image, colour: Any) -> None:
    read = read_picture(saved(picture), FIELD)
    assert (read.mode, read.getpixel((1, 1))) == ("RGB", colour)


@pytest.mark.parametrize(
    ("format_", "picture", "options", "colour"),
    [
        ("PNG", Image.new("1", (4, 2), 1), {}, (255, 255, 255)),
        ("PNG", Image.new("I;16", (4, 2), 128 * 257), {}, (128, 128, 128)),
        ("PNG", Image.new("LA", (4, 2), (9, 0)), {}, (255, 255, 255)),
        ("PNG", Image.new("RGB", (4, 2), (1, 2, 3)).quantize(4), {}, (1, 2, 3)),
        ("PNG", Image.new("RGB", (4, 2), (1, 2, 3)), {"transparency": (1, 2, 3)}, (255, 255, 255)),
        ("GIF", Image.new("RGB", (4, 2), (255, 0, 0)), {}, (255, 0, 0)),
        ("PNG", Image.new("RGB", (2, 4), (9, 8, 7)), {"exif": ON_ITS_SIDE}, (9, 8, 7)),
    ],
)
def test_what_the_worker_makes_of_a_picture_is_read(
    saved: Save, format_: str, picture: Image.Image, options: dict[str, Any], colour: Any
) -> None:
    wanted = Wanted(role="image", field=FIELD, url="", limit_bytes=0)
    files = settle_pictures([wanted], {"image": saved(picture, "input", format_, **options)})
    read = read_picture(files["image"], FIELD)
    assert (read.mode, read.size, read.getpixel((1, 1))) == ("RGB", (4, 2), colour)


@pytest.mark.parametrize(
    ("picture", "level"),
    [
        (Image.new("RGB", (2, 2), "white"), 255),
        (Image.new("RGBA", (2, 2), (255, 255, 255, 255)), 255),
        (Image.new("L", (2, 2), 100), 100),
    ],
)
def test_a_mask_is_grey_levels(saved: Save, picture: Image.Image, level: int) -> None:
    mask = read_mask(saved(picture), "task.maskUrl")
    assert (mask.mode, mask.getpixel((0, 0))) == ("L", level)


def test_a_mask_that_is_no_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "input").write_bytes(b"x")
    with pytest.raises(BadInput, match=r"^task\.maskUrl: not a picture"):
        read_mask(tmp_path / "input", "task.maskUrl")


def test_a_picture_of_another_shape_is_cut_evenly_and_not_stretched() -> None:
    wide = Image.new("RGB", (300, 100), "red")
    wide.paste("green", (100, 0, 200, 100))
    fitted = fit(wide, 50, 50)
    assert fitted.size == (50, 50)
    assert [fitted.getpixel((x, 25)) for x in (4, 25, 45)] == [(0, 128, 0)] * 3


@pytest.mark.parametrize(
    ("ext", "kind"), [("png", "PNG"), ("webp", "WEBP"), ("jpg", "JPEG"), ("jpeg", "JPEG"), ("gif", "GIF")]
)
def test_a_picture_is_written_as_its_ext_says_and_the_same_each_time(ext: str, kind: str) -> None:
    picture = fit(noise(8, 8), 33, 21)
    data = encode_picture(picture, ext)
    assert data == encode_picture(picture, ext)
    read = Image.open(io.BytesIO(data))
    assert (read.format, read.size) == (kind, picture.size)
    difference = np.abs(np.asarray(read.convert("RGB"), dtype=int) - np.asarray(picture, dtype=int))
    assert difference.mean() < 12


def test_png_keeps_every_pixel() -> None:
    picture = noise(20, 20)
    assert Image.open(io.BytesIO(encode_picture(picture, "png"))).tobytes() == picture.tobytes()


def test_an_unknown_ext_is_refused() -> None:
    with pytest.raises(UnsupportedTask, match=r"task\.ext: sd-cpp writes webp, png, jpg and gif, not bmp"):
        encode_picture(noise(2, 2), "bmp")


def test_a_side_that_webp_does_not_know_is_refused_before_any_work() -> None:
    check_size("png", 16_384, 64)
    with pytest.raises(UnsupportedTask, match="webp has at most 16,383 pixels a side, 16384 x 64"):
        check_size("webp", 16_384, 64)


def encodings() -> list[bytes]:
    """A small picture in the formats and modes that a stranger may send."""
    made = []
    for fmt, mode in [("PNG", "RGB"), ("PNG", "P"), ("PNG", "LA"), ("PNG", "I;16"), ("JPEG", "L"), ("JPEG", "CMYK")]:
        out = io.BytesIO()
        turned = Image.Exif()
        turned[0x0112] = 6
        noise(16, 12).convert("L" if mode == "I;16" else mode).convert(mode).save(out, fmt, exif=turned)
        made.append(out.getvalue())
    for fmt in ("WEBP", "GIF"):
        out = io.BytesIO()
        noise(16, 12).save(out, fmt)
        made.append(out.getvalue())
    return made


@pytest.mark.filterwarnings("ignore")
@settings(deadline=None, print_blob=True)
@given(data=st.sampled_from(encodings()).flatmap(damaged))
def test_a_damaged_picture_is_read_or_refused(tmp_path_factory: Any, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(data)
    for read, mode in ((read_picture, "RGB"), (read_mask, "L")):
        try:
            picture = read(path, FIELD)
        except BadInput as error:
            refusal = str(error)
        else:
            assert picture.mode == mode
            continue
        assert refusal.startswith(FIELD)
        assert str(path) not in refusal
