"""Files that run code when they are read: pickles, by their content, whatever their name says."""

from __future__ import annotations

import io
import lzma
import pickletools
import re
import zipfile
import zlib
from pathlib import Path

from studio_worker.models.formats.bad_file import BadModelFile

_BINARY = re.compile(rb"\x80[\x02-\x05]")
"""PROTO with a protocol from 2 on."""

_TEXT = re.compile(rb"[(\]})lpd0-9\n]{0,16}[ci][A-Za-z_][\w.]*\n|\([dl]p\d+\n")
"""How a pickle of protocol 0 can start; word lists start so too, hence `_reads_as_pickle`."""

_CODE = frozenset({"GLOBAL", "STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "REDUCE", "EXT1", "EXT2", "EXT4"})
"""Operations that import or call: protocol 1 has no mark at its start, so it is known by them alone."""

_SAFETENSORS_HEADER = 100_000_000
_TEXT_BYTES = 65_536
_MANY_STEPS = 200
_NUMPY = b"\x93NUMPY"
_ZIP = b"PK\x03\x04"
_MAX_MEMBERS = 100_000

_UNREADABLE = (
    zipfile.BadZipFile,
    NotImplementedError,
    RuntimeError,
    ValueError,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    OSError,
)
"""What zipfile raises of damaged archives: its own error, and those of what unpacks them (bz2 says OSError)."""


def check_head(head: bytes, name: str) -> None:
    """Judge the first bytes of a file.

    Raises:
        BadModelFile: they begin a pickle, or a page for people.
    """
    if _BINARY.match(head) and not _is_safetensors(head, name):
        raise _refusal(name, "it is a pickle")
    if head.startswith(_NUMPY) and re.search(rb"'descr':[^}]*\|?O['\"]", head[:4096]):
        raise _refusal(name, "it is a numpy file of pickled objects")
    start = head[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<html")):
        raise BadModelFile("not-a-model", f"{name} is not a model: it is an HTML page")


def check_pickles(path: Path, name: str) -> None:
    """Judge a whole file: its start, and what lies in it where it is an archive. Blocks.

    Raises:
        BadModelFile: it holds a pickle.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(_TEXT_BYTES)
    check_head(head, name)
    if not _is_safetensors(head, name) and _reads_as_pickle(head):
        raise _refusal(name, "it is a pickle")
    try:
        # The question is answered with an error, too: by an end of an archive that says it has other parts.
        if not (head.startswith(_ZIP) or zipfile.is_zipfile(path)):
            return
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if len(members) > _MAX_MEMBERS:
                raise BadModelFile("archive", f"{name} is an archive of {len(members):,} files, which no model is")
            for member in members:
                _check_member(archive, member, name)
    except _UNREADABLE:
        if head.startswith(_ZIP):
            raise BadModelFile("archive", f"{name} is an archive that cannot be read") from None


def _is_safetensors(head: bytes, name: str) -> bool:
    """Whether what looks like PROTO is the length of a header: 640 bytes and others read so."""
    length = int.from_bytes(head[:8], "little")
    return name.lower().endswith(".safetensors") and length <= _SAFETENSORS_HEADER and head[8:9] == b"{"


def _reads_as_pickle(head: bytes) -> bool:
    """Whether the bytes read as a pickle that runs code, to its end or for so long that it is no chance."""
    steps, is_meant = 0, bool(_TEXT.match(head))
    try:
        for operation, _, _ in pickletools.genops(io.BytesIO(head)):
            steps += 1
            is_meant = is_meant or operation.name in _CODE
            if operation.name == "STOP":
                return is_meant
    except (ValueError, UnicodeError, OverflowError):
        return is_meant and steps >= _MANY_STEPS
    return False


def _check_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str) -> None:
    inner = member.filename.lower()
    if inner.rpartition("/")[2].endswith((".pkl", ".pickle")):
        raise _refusal(name, f"it is an archive with the pickle {member.filename[:100]!r}")
    if inner.endswith((".npy", ".pt", ".ckpt", ".bin", ".pth")):
        with archive.open(member) as file:
            check_head(file.read(4096), name)


def _refusal(name: str, why: str) -> BadModelFile:
    return BadModelFile(
        "pickle", f"{name} runs code when it is opened ({why}): name a safetensors, GGUF or ONNX file instead"
    )
