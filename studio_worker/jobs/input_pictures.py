"""The pictures that a job was given, looked at before its engine gets them, in a form that all engines read.

A stranger's picture may claim any size, hold ten thousand frames, end in the middle, lie on its side or have sixteen
bits. What is wrong with it is said here, once for all engines, by the task's field. What is merely unusual becomes a
PNG file of eight bits. A picture that is neither goes on as it came, to the byte.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from studio_worker.errors import BadInput
from studio_worker.jobs.picture_header import MAX_PICTURE_SIDE, PictureHeader, UnknownPicture, read_picture_header
from studio_worker.jobs.plan import Wanted
from studio_worker.text import escape
from studio_worker.wire.tasks import MAX_PIXELS

if TYPE_CHECKING:
    from PIL import Image

MAX_SCANS = 1_000
"""Passes over its picture that a JPEG file may hold: cameras make 10, and each takes time by pixels, not by bytes."""

_PICTURE_ROLES = frozenset({"image", "mask", "ref_image"})
_PLAIN_MODES = frozenset({"L", "RGB", "RGBA"})
_ORIENTATION = 0x0112
_ERROR_CHARS = 200


def settle_pictures(wanted: Sequence[Wanted], files: Mapping[str, Path]) -> dict[str, Path]:
    """Look at every picture among a job's inputs; reads and decodes files: for a thread.

    One picture at a time is held in memory; the largest that is taken needs a gigabyte of it for a while. One that is
    turned by its EXIF data, has a palette, one bit, sixteen bits, ink colours or transparency beside its pixels, or is
    a GIF becomes an 8-bit grey, RGB or RGBA PNG file beside the fetched one, which is removed.

    Args:
        wanted: what was fetched, each with its field.
        files: the fetched files by role.

    Returns:
        The files by role, as engines are to get them.

    Raises:
        BadInput: names the field and the remedy: no still PNG, JPEG, WebP or GIF picture, too many pixels, truncated,
            or a mask of another size than its picture.
    """
    settled = dict(files)
    sizes: dict[str, tuple[int, int]] = {}
    for item in wanted:
        if item.role in _PICTURE_ROLES:
            settled[item.role], sizes[item.role] = _settle(files[item.role], item.field)
    for item in wanted:
        if item.role == "mask":
            _check_mask(item.field, sizes["mask"], sizes.get("image"))
    return settled


def _check_mask(field: str, mask: tuple[int, int], picture: tuple[int, int] | None) -> None:
    if picture is None:
        raise BadInput(f"{field}: a mask without a picture; send initImageUrl with it")
    if mask != picture:
        raise BadInput(
            f"{field}: the mask has {mask[0]} x {mask[1]} pixels, the picture {picture[0]} x {picture[1]}; "
            "send a mask of the picture's size"
        )


def _settle(path: Path, field: str) -> tuple[Path, tuple[int, int]]:
    """The file that engines are to get, and the size that the picture has in it."""
    with path.open("rb") as file:
        try:
            header = read_picture_header(file)
        except UnknownPicture:
            raise BadInput(f"{field}: not a picture; send a PNG, JPEG, WebP or GIF file") from None
    _check_size(header.width, header.height, field)
    if header.format == "JPEG" and _scans(path) > MAX_SCANS:
        raise BadInput(f"{field}: the JPEG file holds more than {MAX_SCANS:,} scans; save the picture anew")
    redrawn, size = _decoded(path, header, field)
    if redrawn is None:
        return path, size
    dest = path.with_name(f"{path.name}.png")
    # The file is read once or twice and then gone, so that speed is worth more than bytes.
    redrawn.save(dest, "PNG", compress_level=1)
    path.unlink()
    return dest, size


def _decoded(path: Path, header: PictureHeader, field: str) -> tuple[Image.Image | None, tuple[int, int]]:
    """The picture as it is to be written anew, or None where it may stay as it is; and its size."""
    from PIL import Image  # a worker that is given no pictures never loads it

    try:
        with Image.open(path, formats=(header.format,)) as picture:
            # What a decoder makes of a file is what counts: a GIF's frame may be larger than its screen.
            _check_size(*picture.size, field)
            # A photograph may hold further pictures behind the first (MPO, a depth map) and is a still one.
            if header.format != "JPEG" and getattr(picture, "is_animated", False):
                raise BadInput(f"{field}: an animated {header.format} picture; send a single frame of it")
            picture.load()
            return _redrawn(picture, header)
    except (BadInput, MemoryError):
        raise
    except Exception as error:
        # Decoders raise whatever they stumble over: OSError, SyntaxError, struct.error, zlib.error, IndexError …
        detail = escape(str(error).replace(str(path), "it"), limit=_ERROR_CHARS)
        raise BadInput(f"{field}: the picture is truncated or damaged ({detail}); send the whole file") from error


def _redrawn(picture: Image.Image, header: PictureHeader) -> tuple[Image.Image | None, tuple[int, int]]:
    from PIL import Image

    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    orientation = _orientation(picture)
    has_key = picture.mode != "RGBA" and picture.has_transparency_data
    is_plain = header.format != "GIF" and header.depth <= 8 and picture.mode in _PLAIN_MODES and not has_key
    if is_plain and orientation is not None and orientation not in turns:
        return None, picture.size
    # A profile for ink, or for grey that becomes RGB, does not fit the numbers that are made of them.
    profile = picture.info.get("icc_profile") if picture.mode in {"RGB", "RGBA", "P"} else None
    drawn = _eight_bit(picture.transpose(turns[orientation]) if orientation in turns else picture)
    if drawn is picture:
        drawn = picture.copy()
    # Everything else that the file said stays behind: Pillow would write some of it out again.
    drawn.info = {"icc_profile": profile} if isinstance(profile, bytes) else {}
    return drawn, drawn.size


def _eight_bit(picture: Image.Image) -> Image.Image:
    """The picture as grey, RGB or RGBA of eight bits; itself where it is so."""
    if picture.mode.startswith("I"):
        # Exact as a product of floats, and the upper byte of a value of sixteen bits.
        return picture.convert("I").point(lambda level: level * (1 / 256)).convert("L")
    opaque = "L" if picture.mode in {"1", "L"} else "RGB"
    mode = "RGBA" if picture.has_transparency_data else opaque
    return picture if picture.mode == mode else picture.convert(mode)


def _orientation(picture: Image.Image) -> int | None:
    """How the camera was held (1 is upright); None where the EXIF data can't be read, and must not go on."""
    try:
        value = picture.getexif().get(_ORIENTATION, 1)
    except Exception:  # noqa: BLE001 - whatever a parser meets in there, the picture itself is sound
        return None
    return value if isinstance(value, int) else 1


def _check_size(width: int, height: int, field: str) -> None:
    if not 0 < width * height <= MAX_PIXELS or max(width, height) > MAX_PICTURE_SIDE:
        raise BadInput(
            f"{field}: the picture has {width:,} x {height:,} pixels; send one of at most {MAX_PIXELS:,} pixels "
            f"and {MAX_PICTURE_SIDE:,} a side"
        )


def _scans(path: Path) -> int:
    """How many scans a JPEG file may hold: the marker of one stands for nothing else in coded data (T.81, B.1.1.5)."""
    return path.read_bytes().count(b"\xff\xda")
