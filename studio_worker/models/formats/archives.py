"""What lies in an archive, and whether it is one that only some readers see (PKWARE's APPNOTE 6.3.10, section 4.3).

A zip archive is told by its end, and readers part over where its directory begins once other bytes stand before,
between or behind. So only the one form is read in which it says the same to all, and the directory is measured before
it is read: each entry takes ten times its bytes in memory.
"""

from __future__ import annotations

import errno
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from studio_worker.models.formats.bad_file import BadModelFile

MAX_MEMBERS = 10_000
"""Files in an archive; a large network has a tensor a file, some thousands."""

MAX_DIRECTORY = 2 * 1024 * 1024
"""Bytes of a directory, two hundred for each of as many files: readers go by them, whatever the number says."""

LOOK = 65_536
"""Bytes of each file that are unpacked."""

_STARTS = (b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06", b"PK\x07\x08")
_ENTRY, _END, _END_64, _LOCATOR = b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_END_FORM, _END_64_FORM, _LOCATOR_FORM = struct.Struct("<4s4H2LH"), struct.Struct("<4sQ2H2L4Q"), struct.Struct("<4sLQL")
_SATURATED = (0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF)
"""What stands in an end for that which only the one of 64 bits can say."""

_MAX_COMMENT = 65_535
_TAR_BLOCK = 512

_UNREADABLE = (zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, EOFError, zlib.error, OSError)
"""What zipfile raises of damaged archives: its own error, and those of what unpacks them."""

Judge = Callable[[str, bytes, int], None]
"""Judges a file in an archive by its name, its first bytes, and how many it has; raises `BadModelFile`."""


def is_zip(head: bytes) -> bool:
    """Whether the first bytes of a file begin a zip archive."""
    return head.startswith(_STARTS)


def is_tar(head: bytes) -> bool:
    """Whether the first 512 bytes of a file are the header of a tar archive, with its sum."""
    try:
        tarfile.TarInfo.frombuf(head[:_TAR_BLOCK], "utf-8", "surrogateescape")
    except tarfile.TarError:
        return False
    return True


def check_archive(path: Path, head: bytes, name: str, judge: Judge) -> None:
    """Judge a file by what is in it, where it is an archive. Blocks.

    Args:
        path: the file.
        head: its first 512 bytes or more.
        name: what it is called.
        judge: asked of each file in it.

    Raises:
        BadModelFile: rule `archive`: one that cannot be read, that is larger than any model's, or that hides behind
            other bytes; or what `judge` raises.
        OSError: it cannot be read.
    """
    if is_tar(head):
        raise BadModelFile("archive", f"{name} is a tar archive, which no engine opens")
    with path.open("rb") as file:
        if not is_zip(head):
            if _hides_archive(file):
                raise BadModelFile("archive", f"{name} is an archive behind other bytes, which no model is")
            return
        count, length = _directory(file, name)
    if count > MAX_MEMBERS or length > MAX_DIRECTORY:
        raise BadModelFile("archive", f"{name} is an archive of {count:,} files, which no model is")
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if len(members) != count:
                raise _unreadable(name)
            for member in members:
                judge(member.filename, _start_of(archive, member), member.file_size)
    except _UNREADABLE as error:
        # A place before the file's beginning, as an archive may name one, is an invalid argument; the rest is a disk's.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        raise _unreadable(name) from None


def _start_of(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    # Others take memory or time by what the archive says of itself.
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise NotImplementedError("packed in a way that no model is")
    with archive.open(member) as file:
        return file.read(LOOK)


def _directory(file: BinaryIO, name: str) -> tuple[int, int]:
    """How many files, and how many bytes of directory, an archive claims to have; all its ends must say the same."""
    size = file.seek(0, 2)
    tail = _tail(file, size)
    end = size - _END_FORM.size
    if end < 0 or tail.rfind(_END) != len(tail) - _END_FORM.size:
        raise _unreadable(name)
    _, disk, first_disk, *said, comment = _END_FORM.unpack(tail[-_END_FORM.size :])
    before = tail[: -_END_FORM.size]
    if before[-_LOCATOR_FORM.size :].startswith(_LOCATOR):
        end -= _LOCATOR_FORM.size + _END_64_FORM.size
        said = _wide_end(before[end - (size - len(tail)) :] if end >= 0 else b"", end, said, name)
    here, count, length, offset = said
    if disk or first_disk or comment or here != count or offset + length != end:
        raise _unreadable(name)
    return count, length


def _wide_end(data: bytes, at: int, said: list[int], name: str) -> list[int]:
    """What the end of 64 bits says, which stands at `at` with its locator behind it; the other must say the same."""
    if len(data) != _END_64_FORM.size + _LOCATOR_FORM.size:
        raise _unreadable(name)
    mark, rest, _, _, disk, first_disk, *wide = _END_64_FORM.unpack(data[: _END_64_FORM.size])
    fits = all(known in (true, most) for known, true, most in zip(said, wide, _SATURATED, strict=True))
    if (mark, rest, disk, first_disk) != (_END_64, _END_64_FORM.size - 12, 0, 0) or not fits:
        raise _unreadable(name)
    if _LOCATOR_FORM.unpack(data[_END_64_FORM.size :]) != (_LOCATOR, 0, at, 1):
        raise _unreadable(name)
    return wide


def _hides_archive(file: BinaryIO) -> bool:
    """Whether a reader that starts from the end of the file would find an archive."""
    size = file.seek(0, 2)
    tail = _tail(file, size)
    at = tail.rfind(_END)
    while at >= 0:
        if tail[max(at - _LOCATOR_FORM.size, 0) : at].startswith(_LOCATOR):
            return True
        if len(tail) - at >= _END_FORM.size:
            *_, length, offset, _ = _END_FORM.unpack_from(tail, at)
            where = size - len(tail) + at - length
            if any(_reads(file, start, _ENTRY) for start in (where, offset)):
                return True
        at = tail.rfind(_END, 0, at)
    return False


def _reads(file: BinaryIO, start: int, mark: bytes) -> bool:
    if start < 0:
        return False
    file.seek(start)
    return file.read(len(mark)) == mark


def _tail(file: BinaryIO, size: int) -> bytes:
    """What the end of an archive must lie in, with the longest comment and the records of 64 bits before it."""
    file.seek(max(size - _MAX_COMMENT - _END_FORM.size - _LOCATOR_FORM.size - _END_64_FORM.size, 0))
    return file.read()


def _unreadable(name: str) -> BadModelFile:
    return BadModelFile("archive", f"{name} is an archive that cannot be read")
