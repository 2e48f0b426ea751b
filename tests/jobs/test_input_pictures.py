"""Pictures from strangers: refused by field and remedy, or brought into a form that every engine reads."""

import io
import random
import struct
import warnings
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from studio_worker.errors import BadInput
from studio_worker.jobs.input_pictures import MAX_SCANS, settle_pictures
from studio_worker.jobs.picture_header import MAX_PICTURE_SIDE
from studio_worker.jobs.plan import Wanted
from studio_worker.wire.tasks import MAX_PIXELS

FIELDS = {"image": "task.initImageUrl", "mask": "task.maskUrl", "ref_image": "task.refImageUrl"}
FORMATS = ["PNG", "JPEG", "WEBP", "GIF"]
CORNERS = {(0, 0): (250, 10, 10), (11, 0): (10, 250, 10), (0, 7): (10, 10, 250), (11, 7): (240, 240, 240)}


def encoded(picture, fmt="PNG", **options):
    out = io.BytesIO()
    picture.save(out, fmt, **options)
    return out.getvalue()


def noise(mode="RGB", size=(24, 16)):
    picture = Image.frombytes("RGB", size, random.Random(7).randbytes(size[0] * size[1] * 3))
    return picture.convert(mode)


def settle(folder, **files):
    """The settled files of a job with these inputs."""
    paths = {}
    for role, data in files.items():
        paths[role] = folder / f"input-{role}"
        paths[role].write_bytes(data)
    return settle_pictures([Wanted(role, FIELDS[role], "https://a.example", 1) for role in files], paths)


def settled(folder, data):
    """One settled picture, decoded."""
    with Image.open(settle(folder, image=data)["image"]) as picture:
        picture.load()
        return picture


def refusal(folder, **files):
    with pytest.raises(BadInput) as caught:
        settle(folder, **files)
    assert not caught.value.retryable
    assert str(folder) not in str(caught.value)
    return str(caught.value)


class TestAPictureInOrder:
    @pytest.mark.parametrize(
        ("fmt", "mode"),
        [
            ("PNG", "RGB"),
            ("PNG", "RGBA"),
            ("PNG", "L"),
            ("JPEG", "RGB"),
            ("JPEG", "L"),
            ("WEBP", "RGB"),
            ("WEBP", "RGBA"),
        ],
    )
    def test_stays_as_it_came(self, tmp_path, fmt, mode):
        data = encoded(noise(mode), fmt)
        file = settle(tmp_path, image=data)["image"]
        assert file.name == "input-image"
        assert file.read_bytes() == data

    def test_stays_as_it_came_in_every_role(self, tmp_path):
        data = encoded(noise())
        files = settle(tmp_path, image=data, mask=data, ref_image=data)
        assert {role: file.name for role, file in files.items()} == {role: f"input-{role}" for role in FIELDS}

    def test_may_be_upright_by_its_exif_data(self, tmp_path):
        data = encoded(noise(), "JPEG", exif=exif(1))
        assert settle(tmp_path, image=data)["image"].read_bytes() == data

    def test_may_hold_a_second_picture_as_cameras_write_it(self, tmp_path):
        data = encoded(noise(), "MPO", save_all=True, append_images=[noise("L").convert("RGB")])
        assert settle(tmp_path, image=data)["image"].read_bytes() == data

    def test_is_left_alone_where_it_is_sound(self, tmp_path):
        sound = tmp_path / "input-audio"
        sound.write_bytes(b"RIFF")
        files = settle_pictures([Wanted("audio", "task.inputUrl", "https://a.example", 1)], {"audio": sound})
        assert files == {"audio": sound}
        assert sound.read_bytes() == b"RIFF"


class TestWhatIsUnusual:
    @pytest.mark.parametrize(
        ("mode", "fmt", "becomes"),
        [
            ("1", "PNG", "L"),
            ("P", "PNG", "RGB"),
            ("LA", "PNG", "RGBA"),
            ("I;16", "PNG", "L"),
            ("CMYK", "JPEG", "RGB"),
            ("L", "GIF", "RGB"),
            ("P", "GIF", "RGB"),
        ],
    )
    def test_becomes_a_png_file_of_eight_bits(self, tmp_path, mode, fmt, becomes):
        if mode == "I;16":
            picture = Image.frombytes("I;16", (24, 16), random.Random(7).randbytes(24 * 16 * 2))
        else:
            picture = noise(mode)
        data = encoded(picture, fmt)
        with Image.open(io.BytesIO(data)) as before:
            expected = before.convert("I").point(lambda level: level / 256) if mode == "I;16" else before
            expected = expected.convert(becomes)
        made = settled(tmp_path, data)
        assert (made.format, made.mode, made.size) == ("PNG", becomes, (24, 16))
        assert made.tobytes() == expected.tobytes()

    def test_takes_the_place_of_the_fetched_file(self, tmp_path):
        file = settle(tmp_path, image=encoded(noise(), "GIF"))["image"]
        assert [entry.name for entry in tmp_path.iterdir()] == [file.name] == ["input-image.png"]

    def test_keeps_white_white_and_black_black_at_sixteen_bits(self, tmp_path):
        picture = Image.new("I;16", (2, 1), 65_535)
        picture.putpixel((1, 0), 255)
        assert list(settled(tmp_path, encoded(picture)).tobytes()) == [255, 0]

    @pytest.mark.parametrize("colour", [2, 4, 6])
    def test_of_sixteen_bits_keeps_the_upper_byte_of_every_channel(self, tmp_path, colour):
        channels = {2: 3, 4: 2, 6: 4}[colour]
        row = b"".join(bytes([10 * (place + 1), 99]) for place in range(channels)) * 4
        made = settled(tmp_path, png((b"\0" + row) * 4, depth=16, colour=colour))
        pixel = [10, 10, 10, 20] if colour == 4 else [10 * (place + 1) for place in range(channels)]
        assert list(made.tobytes()) == pixel * 16
        assert (tmp_path / "input-image.png").read_bytes()[24] == 8

    @pytest.mark.parametrize(("mode", "key"), [("P", 3), ("L", 7), ("RGB", (1, 2, 3))])
    def test_shows_what_a_transparent_colour_leaves(self, tmp_path, mode, key):
        picture = Image.new(mode, (4, 4), key)
        if mode == "P":
            picture.putpalette(range(30))
        picture.putpixel((1, 0), {"P": 5, "L": 9, "RGB": (9, 9, 9)}[mode])
        made = settled(tmp_path, encoded(picture, transparency=key))
        assert made.mode == "RGBA"
        assert [made.getpixel((x, 0))[3] for x in range(3)] == [0, 255, 0]

    def test_of_a_palette_with_alpha_keeps_it(self, tmp_path):
        picture = Image.new("P", (4, 4), 0)
        picture.putpalette([200, 0, 0, 0, 200, 0])
        picture.putpixel((1, 0), 1)
        made = settled(tmp_path, encoded(picture, transparency=bytes([128, 255])))
        assert [made.getpixel((x, 0)) for x in range(2)] == [(200, 0, 0, 128), (0, 200, 0, 255)]

    def test_keeps_a_profile_that_fits_its_numbers_and_no_other(self, tmp_path):
        assert settled(tmp_path, encoded(noise("P"), icc_profile=b"of colours")).info["icc_profile"] == b"of colours"
        assert "icc_profile" not in settled(tmp_path, encoded(noise("CMYK"), "JPEG", icc_profile=b"of inks")).info

    def test_leaves_behind_what_else_its_file_said(self, tmp_path):
        data = encoded(noise(), "JPEG", exif=exif(6), comment=b"from 52.5 N")
        assert not set(settled(tmp_path, data).info) - {"icc_profile"}


def exif(orientation):
    data = Image.Exif()
    data[0x0112] = orientation
    return data


def turned(orientation):
    """A picture that a camera stored lying down, and that is upright by its orientation: the corners of `CORNERS`."""
    upright = Image.new("RGB", (12, 8))
    for place, colour in CORNERS.items():
        upright.putpixel(place, colour)
    back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    return upright.transpose(Image.Transpose(back[orientation])) if orientation in back else upright


@pytest.mark.parametrize("fmt", ["PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_picture_that_lies_on_its_side_is_put_upright(tmp_path, fmt, orientation):
    options = {"lossless": True} if fmt == "WEBP" else {}
    made = settled(tmp_path, encoded(turned(orientation), fmt, exif=exif(orientation), **options))
    assert made.size == (12, 8)
    assert {place: made.getpixel(place) for place in CORNERS} == CORNERS
    assert made.getexif() == {}


def test_a_photograph_that_lies_on_its_side_is_put_upright(tmp_path):
    made = settled(tmp_path, encoded(turned(6).resize((80, 120)), "JPEG", exif=exif(6)))
    assert made.size == (120, 80)
    assert made.getpixel((2, 2))[0] > 200


@pytest.mark.parametrize("orientation", [0, 9, 65_535])
def test_an_orientation_that_there_is_not_is_left_alone(tmp_path, orientation):
    data = encoded(turned(1), exif=exif(orientation))
    assert settle(tmp_path, image=data)["image"].read_bytes() == data


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("broken", [b"MM\0*\xff\xff\xff\xff", b"nonsense", b"II*\0\x08\0\0\0\xff\xff"])
def test_broken_exif_data_harms_no_picture(tmp_path, broken):
    data = encoded(noise(), "JPEG", exif=b"Exif\0\0" + broken)
    with Image.open(io.BytesIO(data)) as picture:
        pixels = picture.tobytes()
    assert settled(tmp_path, data).tobytes() == pixels


def chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(raw, *, width=4, height=4, depth=8, colour=2):
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


def claiming(fmt, width, height):
    """A small file whose header claims a size: a bomb for whoever makes room before looking."""
    match fmt:
        case "PNG":
            return png(bytes(100), width=width, height=height)
        case "JPEG":
            data = bytearray(encoded(noise(), "JPEG"))
            at = data.index(b"\xff\xc0")
            data[at + 5 : at + 9] = struct.pack(">HH", height, width)
            return bytes(data)
        case "WEBP":
            head = b"VP8X" + struct.pack("<I", 10) + bytes(4) + (width - 1).to_bytes(3, "little")
            body = b"WEBP" + head + (height - 1).to_bytes(3, "little") + encoded(noise(), "WEBP")[12:]
            return b"RIFF" + struct.pack("<I", len(body)) + body
        case "GIF":
            data = encoded(noise(), "GIF")
            return data[:6] + struct.pack("<HH", width, height) + data[10:]


@pytest.mark.parametrize(
    ("fmt", "width", "height"),
    [
        ("PNG", 20_000, 20_000),
        ("PNG", 1, 100_000_000),
        ("PNG", 1, MAX_PICTURE_SIDE + 1),
        ("PNG", 0, 4),
        ("PNG", 2**31 - 1, 2**31 - 1),
        ("JPEG", 65_535, 65_535),
        ("JPEG", 8_193, 8_192),
        ("WEBP", 16_384, 16_384),
        ("GIF", 65_535, 65_535),
    ],
)
def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path, monkeypatch, fmt, width, height):
    monkeypatch.setattr(Image, "open", None)
    said = refusal(tmp_path, image=claiming(fmt, width, height))
    assert said.startswith(f"task.initImageUrl: the picture has {width:,} x {height:,} pixels; send one of at most")


def test_a_frame_beyond_the_screen_of_a_gif_is_refused_before_it_is_decoded(tmp_path):
    data = bytearray(encoded(noise(), "GIF"))
    at = data.index(b"\x2c\0\0\0\0")
    data[at + 5 : at + 9] = struct.pack("<HH", 65_535, 65_535)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert refusal(tmp_path, image=bytes(data)).startswith("task.initImageUrl")


def test_the_largest_picture_that_is_taken_is_taken(tmp_path):
    side = int(MAX_PIXELS**0.5)
    data = encoded(Image.new("L", (side, side)), compress_level=1)
    assert settle(tmp_path, image=data)["image"].stat().st_size == len(data)


@pytest.mark.parametrize("role", ["image", "ref_image"])
@pytest.mark.parametrize(
    "data", [b"", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"8BPS\0\1", b"II*\0", b"<svg/>", b"<html>", b"BM"]
)
def test_what_is_none_of_the_four_formats_is_refused(tmp_path, role, data):
    assert refusal(tmp_path, **{role: data}) == (f"{FIELDS[role]}: not a picture; send a PNG, JPEG, WebP or GIF file")


@pytest.mark.parametrize("fmt", ["PNG", "WEBP", "GIF"])
def test_an_animated_picture_is_refused_by_its_format(tmp_path, fmt):
    data = encoded(noise(), fmt, save_all=True, append_images=[noise().rotate(180)], duration=50)
    assert refusal(tmp_path, ref_image=data) == (
        f"task.refImageUrl: an animated {fmt} picture; send a single frame of it"
    )


def test_ten_thousand_frames_are_refused_at_the_second(tmp_path):
    one = encoded(Image.new("P", (8, 8)), "GIF")
    frame = one[one.index(b"\x2c\0\0\0\0") : -1]
    assert "animated GIF" in refusal(tmp_path, image=one[:-1] + frame * 10_000 + b";")


def test_an_animation_of_one_frame_is_a_still_picture(tmp_path):
    assert settled(tmp_path, encoded(noise(), "PNG", save_all=True)).size == (24, 16)


@pytest.mark.parametrize("fmt", FORMATS)
def test_a_picture_that_is_cut_is_refused_as_truncated(tmp_path, fmt):
    data = encoded(noise(size=(64, 64)), fmt)
    said = refusal(tmp_path, image=data[: len(data) // 2])
    assert said.startswith("task.initImageUrl: the picture is truncated or damaged (")
    assert said.endswith("); send the whole file")


def settled_or_refused(folder, data):
    """The picture, or None where it was refused in the way that pictures are."""
    for file in folder.iterdir():
        file.unlink()
    try:
        return settled(folder, data)
    except BadInput as error:
        if not str(error).startswith("task.initImageUrl: "):
            raise
        return None


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzzed")


@settings(max_examples=150)
@given(st.sampled_from(FORMATS), st.booleans(), st.floats(0, 1))
def test_however_a_file_is_cut_no_pixel_is_made_up(folder, fmt, plain, share):
    data = encoded(noise(size=(40, 30)), fmt, **({} if plain else {"progressive": True, "lossless": True}))
    with Image.open(io.BytesIO(data)) as picture:
        whole = picture.convert("RGB").tobytes()
    made = settled_or_refused(folder, data[: int(share * len(data))])
    assert made is None or made.convert("RGB").tobytes() == whole


DAMAGE = st.lists(st.tuples(st.integers(10, 2_000), st.integers(0, 255)), min_size=1, max_size=6)


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=150)
@given(st.sampled_from(FORMATS), DAMAGE)
def test_however_a_file_is_damaged_it_is_read_or_refused(folder, fmt, changes):
    data = bytearray(encoded(noise(size=(40, 30)), fmt))
    for place, value in changes:
        data[place % len(data)] = value
    made = settled_or_refused(folder, bytes(data))
    assert made is None or made.width * made.height <= MAX_PIXELS


def test_a_jpeg_of_endless_scans_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "open", None)
    data = encoded(noise(), "JPEG", progressive=True)
    at = data.rindex(b"\xff\xda")
    assert "scans" in refusal(tmp_path, image=data[:at] + data[at:-2] * (MAX_SCANS + 1) + data[-2:])


def test_a_mask_of_another_size_is_refused_by_its_field(tmp_path):
    said = refusal(tmp_path, image=encoded(noise()), mask=encoded(noise("L", (16, 24))))
    assert said == ("task.maskUrl: the mask has 16 x 24 pixels, the picture 24 x 16; send a mask of the picture's size")


def test_a_mask_without_a_picture_is_refused_by_its_field(tmp_path):
    assert refusal(tmp_path, mask=encoded(noise("L"))).startswith("task.maskUrl: a mask without a picture")


def test_a_mask_has_the_size_that_the_picture_has_when_upright(tmp_path):
    files = settle(tmp_path, image=encoded(turned(6), exif=exif(6)), mask=encoded(Image.new("L", (12, 8), 255)))
    assert sorted(file.name for file in files.values()) == ["input-image.png", "input-mask"]


def test_a_failure_to_write_is_no_fault_of_the_picture(tmp_path):
    data = encoded(noise(), "GIF")
    (tmp_path / "input-image.png").mkdir()
    with pytest.raises(IsADirectoryError):
        settle(tmp_path, image=data)


def test_the_decoder_fills_no_gaps_here():
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False
