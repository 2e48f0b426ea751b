from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms
from studio_worker_onnx import picture as picture_file
from studio_worker_onnx.picture import Picture, check_ext, read_mask, read_picture, write_picture

from studio_worker import BadInput, UnsupportedTask

FIELD = "task.initImageUrl"

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes bytes, or a picture in a format, as a fetched input."""

    def make(given: bytes | Image.Image, kind: str = "PNG", **options: Any) -> Path:
        path = tmp_path / "input"
        if isinstance(given, Image.Image):
            given.save(path, kind, **options)
        else:
            path.write_bytes(given)
        return path

    return make


def png(width: int, height: int, *, depth: int = 8, colour: int = 2, data: bytes = b"") -> bytes:
    """The frame of a PNG file, whatever its pixels are."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_four_formats_are_read(write: Write, kind: str) -> None:
    found = read_picture(write(Image.new("RGB", (31, 17), (255, 0, 0)), kind), FIELD)
    assert (found.size, found.rgb.mode, found.alpha) == ((31, 17), "RGB", None)


@pytest.mark.parametrize("kind", ["TIFF", "BMP", "ICO", "EPS", "PDF", "PPM", "TGA"])
def test_other_formats_are_refused_by_the_field(write: Write, kind: str) -> None:
    with pytest.raises(BadInput, match=r"^task\.initImageUrl: not a PNG, JPEG, WebP or GIF picture$"):
        read_picture(write(Image.new("RGB", (16, 16)), kind), FIELD)


@pytest.mark.parametrize(("width", "height"), [(20_000, 20_000), (1, 100_000_000), (8_193, 8_192), (60_000, 60_000)])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_picture_over_the_pixel_limit_is_refused_before_it_is_decoded(write: Write, width: int, height: int) -> None:
    with pytest.raises(BadInput, match=r"^task\.initImageUrl: .*67,108,864"):
        read_picture(write(png(width, height)), FIELD)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_a_moving_picture_is_refused(write: Write, kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), (shade, 0, 0)) for shade in (0, 100, 200)]
    path = write(frames[0], kind, save_all=True, append_images=frames[1:])
    with pytest.raises(BadInput, match="a moving picture; bring a still one"):
        read_picture(path, FIELD)


def test_a_photograph_with_a_second_picture_in_it_is_a_still_one(write: Write) -> None:
    path = write(Image.new("RGB", (8, 8), "white"), "MPO", save_all=True, append_images=[Image.new("RGB", (8, 8))])
    assert read_picture(path, FIELD).rgb.getpixel((4, 4)) == (255, 255, 255)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_truncated_picture_is_refused(write: Write, kind: str) -> None:
    whole = io.BytesIO()
    Image.effect_noise((64, 64), 100).convert("RGB").save(whole, kind)
    with pytest.raises(BadInput, match=r"task\.initImageUrl: "):
        read_picture(write(whole.getvalue()[: len(whole.getvalue()) // 2]), FIELD)


@given(data=st.data())
def test_a_damaged_picture_is_read_or_refused_and_never_more(data: st.DataObject, tmp_path_factory: Any) -> None:
    kind = data.draw(st.sampled_from(["PNG", "JPEG", "WEBP", "GIF"]))
    whole = io.BytesIO()
    Image.linear_gradient("L").resize((24, 24)).convert("RGB").save(whole, kind)
    damaged = bytearray(whole.getvalue())
    for _ in range(3):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(damaged)
    try:
        found = read_picture(path, FIELD)
    except BadInput:
        return
    assert found.rgb.mode == "RGB"


@pytest.mark.parametrize(
    ("orientation", "size", "corner"),
    [(1, (20, 10), "red"), (3, (20, 10), "blue"), (6, (10, 20), "red"), (8, (10, 20), "blue"), (9, (20, 10), "red")],
)
def test_the_orientation_of_exif_is_applied(write: Write, orientation: int, size: tuple[int, int], corner: str) -> None:
    base = Image.new("RGB", (20, 10), "blue")
    base.paste("red", (0, 0, 10, 10))
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = read_picture(write(base, "PNG", exif=exif), FIELD)
    assert found.size == size
    assert found.rgb.getpixel((0, 0)) == ((255, 0, 0) if corner == "red" else (0, 0, 255))


def test_grey_and_ink_become_rgb(write: Write) -> None:
    assert read_picture(write(Image.new("L", (4, 4), 77)), FIELD).rgb.getpixel((0, 0)) == (77, 77, 77)
    assert read_picture(write(Image.new("1", (4, 4), 1)), FIELD).rgb.getpixel((0, 0)) == (255, 255, 255)
    ink = read_picture(write(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=100), FIELD)
    red, green, blue = ink.rgb.getpixel((4, 4))
    assert (red > 240, green < 15, blue < 15) == (True, True, True)


def test_sixteen_bits_become_eight(write: Write) -> None:
    deep = Image.fromarray(np.array([[0, 255, 256, 0x8000, 0xFFFF]], np.uint16))
    found = read_picture(write(deep), FIELD)
    assert np.asarray(found.rgb)[0, :, 1].tolist() == [0, 0, 1, 0x80, 0xFF]
    colour = png(1, 1, depth=16, data=b"\0" + struct.pack(">HHH", 0xFFFF, 0x8000, 0x00FF))
    assert read_picture(write(colour), FIELD).rgb.getpixel((0, 0)) == (255, 128, 0)


def test_transparency_is_kept_beside_the_colours(write: Write) -> None:
    clear = read_picture(write(Image.new("RGBA", (4, 4), (9, 8, 7, 0))), FIELD)
    assert clear.rgb.getpixel((0, 0)) == (9, 8, 7)
    assert clear.alpha is not None
    assert clear.alpha.getpixel((0, 0)) == 0
    grey = read_picture(write(Image.new("LA", (4, 4), (50, 128))), FIELD)
    assert grey.alpha is not None
    assert (grey.rgb.getpixel((0, 0)), grey.alpha.getpixel((0, 0))) == ((50, 50, 50), 128)


def test_a_palette_with_a_transparent_colour_is_read(write: Write) -> None:
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([255, 0, 0, 0, 255, 0])
    palette.putpixel((0, 0), 0)
    found = read_picture(write(palette, "PNG", transparency=0), FIELD)
    assert found.alpha is not None
    assert [found.alpha.getpixel((at, 0)) for at in (0, 1)] == [0, 255]
    assert found.rgb.getpixel((1, 0)) == (0, 255, 0)


@pytest.mark.parametrize(("shade", "is_marked"), [(0, False), (128, False), (129, True), (255, True)])
def test_a_mask_marks_what_is_brighter_than_128(write: Write, shade: int, is_marked: bool) -> None:
    for mode in ("L", "RGB"):
        colour = shade if mode == "L" else (shade, shade, shade)
        assert read_mask(write(Image.new(mode, (3, 2), colour)), "task.maskUrl").tolist() == [[is_marked] * 3] * 2


def test_a_mask_of_one_bit_or_sixteen_is_read(write: Write) -> None:
    bits = Image.new("1", (2, 1))
    bits.putpixel((1, 0), 1)
    assert read_mask(write(bits), "task.maskUrl").tolist() == [[False, True]]
    deep = Image.fromarray(np.array([[0x7FFF, 0x8100]], np.uint16))
    assert read_mask(write(deep), "task.maskUrl").tolist() == [[False, True]]


def test_what_is_transparent_in_a_mask_is_not_marked(write: Write) -> None:
    mask = Image.new("RGBA", (2, 1), (255, 255, 255, 0))
    mask.putpixel((1, 0), (255, 255, 255, 255))
    assert read_mask(write(mask), "task.maskUrl").tolist() == [[False, True]]


@pytest.mark.parametrize("ext", ["png", "webp"])
def test_lossless_formats_give_back_every_value(ext: str, tmp_path: Path) -> None:
    values = np.random.default_rng(1).integers(0, 256, (40, 50, 4), np.uint8)
    whole = Image.fromarray(values, "RGBA")
    path = write_picture(Picture(whole.convert("RGB"), whole.getchannel("A")), ext, tmp_path)
    assert (np.asarray(Image.open(path)) == values).all()


@pytest.mark.parametrize("ext", ["jpg", "jpeg", "gif"])
def test_formats_without_transparency_lie_on_white(ext: str, tmp_path: Path) -> None:
    clear = Picture(Image.new("RGB", (16, 16), "black"), Image.new("L", (16, 16), 0))
    found = Image.open(write_picture(clear, ext, tmp_path)).convert("RGB")
    assert found.getpixel((8, 8)) == (255, 255, 255)


def test_the_colour_profile_goes_along_and_nothing_else(write: Write, tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x010F] = "a camera with a serial number"
    path = write(Image.new("RGB", (8, 8)), "JPEG", icc_profile=profile, exif=exif, comment=b"at home")
    for ext in ("png", "webp", "jpg"):
        found = Image.open(write_picture(read_picture(path, FIELD), ext, tmp_path))
        assert found.info.get("icc_profile") == profile
        assert not found.getexif()
        assert "comment" not in found.info


def test_the_profile_of_a_grey_picture_does_not_go_with_its_colours(write: Write) -> None:
    assert read_picture(write(Image.new("L", (8, 8)), "PNG", icc_profile=b"grey"), FIELD).icc is None


@pytest.mark.parametrize(("ext", "side"), [("webp", 16_384), ("jpg", 65_536), ("jpeg", 65_536), ("gif", 65_536)])
def test_a_side_longer_than_a_format_holds_is_refused_with_a_way_out(ext: str, side: int) -> None:
    with pytest.raises(UnsupportedTask, match=rf"task\.ext: {ext} holds sides of .* ask for png"):
        check_ext(ext, (8, side))
    check_ext(ext, (8, side - 1))
    check_ext("png", (8, side))


def test_running_out_of_memory_is_not_the_pictures_fault(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(picture_file.ImageOps, "exif_transpose", fail)
    with pytest.raises(MemoryError):
        read_picture(write(Image.new("RGB", (8, 8))), FIELD)
