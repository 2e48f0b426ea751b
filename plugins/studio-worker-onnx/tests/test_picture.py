from __future__ import annotations

import io
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
from studio_worker.jobs.input_pictures import settle_pictures
from studio_worker.jobs.plan import Wanted

FIELD = "task.initImageUrl"

Write = Callable[..., Path]

ON_ITS_SIDE = Image.Exif()
ON_ITS_SIDE[0x0112] = 6


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


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_three_formats_are_read(write: Write, kind: str) -> None:
    found = read_picture(write(Image.new("RGB", (31, 17), (255, 0, 0)), kind), FIELD)
    assert (found.size, found.rgb.mode, found.alpha) == ((31, 17), "RGB", None)


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "BMP", "ICO", "EPS", "PDF", "PPM", "TGA"])
def test_other_formats_are_refused_by_the_field(write: Write, kind: str) -> None:
    with pytest.raises(BadInput, match=r"^task\.initImageUrl: not a PNG, JPEG or WebP picture$"):
        read_picture(write(Image.new("RGB", (16, 16)), kind), FIELD)


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
    kind = data.draw(st.sampled_from(["PNG", "JPEG", "WEBP"]))
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
    ("kind", "given", "options", "corner"),
    [
        ("PNG", Image.new("L", (4, 2), 77), {}, (77, 77, 77)),
        ("PNG", Image.new("1", (4, 2), 1), {}, (255, 255, 255)),
        ("PNG", Image.fromarray(np.full((2, 4), 0x80FF, np.uint16)), {}, (128, 128, 128)),
        ("GIF", Image.new("RGB", (4, 2), (255, 0, 0)), {}, (255, 0, 0)),
        ("PNG", Image.new("RGB", (2, 4), (9, 8, 7)), {"exif": ON_ITS_SIDE}, (9, 8, 7)),
    ],
)
def test_what_the_worker_makes_of_a_picture_is_read(
    write: Write, kind: str, given: Image.Image, options: dict[str, Any], corner: tuple[int, int, int]
) -> None:
    path = write(given, kind, **options)
    wanted = Wanted(role="image", field=FIELD, url="", limit_bytes=0)
    found = read_picture(settle_pictures([wanted], {"image": path})["image"], FIELD)
    assert (found.size, found.rgb.getpixel((0, 0)), found.alpha) == ((4, 2), corner, None)


def test_transparency_is_kept_beside_the_colours(write: Write) -> None:
    clear = read_picture(write(Image.new("RGBA", (4, 4), (9, 8, 7, 0))), FIELD)
    assert clear.rgb.getpixel((0, 0)) == (9, 8, 7)
    assert clear.alpha is not None
    assert clear.alpha.getpixel((0, 0)) == 0


@pytest.mark.parametrize(("shade", "is_marked"), [(0, False), (128, False), (129, True), (255, True)])
def test_a_mask_marks_what_is_brighter_than_128(write: Write, shade: int, is_marked: bool) -> None:
    for mode in ("L", "RGB"):
        colour = shade if mode == "L" else (shade, shade, shade)
        assert read_mask(write(Image.new(mode, (3, 2), colour)), "task.maskUrl").tolist() == [[is_marked] * 3] * 2


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
    def fail(*args: Any, **options: Any) -> Any:
        raise MemoryError

    path = write(Image.new("RGB", (8, 8)))
    monkeypatch.setattr(picture_file.Image, "open", fail)
    with pytest.raises(MemoryError):
        read_picture(path, FIELD)
