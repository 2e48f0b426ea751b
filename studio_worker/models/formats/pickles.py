"""Files that run code when they are read: pickles, by their content, whatever their name says, and by their name."""

from __future__ import annotations

import mmap
import re
from functools import partial
from pathlib import Path

from studio_worker.models.formats import numpy_header
from studio_worker.models.formats.archives import LOOK, check_archive, is_tar, is_zip
from studio_worker.models.formats.bad_file import BadModelFile
from studio_worker.models.formats.gguf import check_gguf
from studio_worker.models.formats.pickle_walk import Bytes, may_import
from studio_worker.models.formats.safetensors import MAX_HEADER, check_safetensors

_MARKED = re.compile(rb"\x80[\x02-\x05]")
"""PROTO with a protocol from 2 on."""

_PICKLED = frozenset({".ckpt", ".pt", ".pt2", ".pth", ".pkl", ".pickle", ".joblib", ".dill", ".pdparams"})
"""What checkpoints are called whose libraries unpickle them, or unpack them and unpickle what is in them."""

_WORD_LISTS = frozenset({".txt", ".vocab", ".bpe", ".merges", ".lst"})
_GGUF = b"GGUF"
_TELLING = 9
"""Bytes by which a GGUF or safetensors file is known."""


def check_head(head: bytes, name: str) -> None:
    """Judge the first bytes of a file, however few.

    Raises:
        BadModelFile: they begin a pickle, a page for people, or a file that is called as pickles are and is none of
            another known kind.
    """
    if _is_marked(head, name):
        raise _refusal(name, "it is a pickle")
    start = head[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<html")):
        raise BadModelFile("not-a-model", f"{name} is not a model: it is an HTML page")
    if _suffix(name) in _PICKLED and len(head) >= _TELLING and not (head.startswith(_GGUF) or _is_safetensors(head)):
        raise _refusal(name, "its name is a pickle's, and it is neither safetensors nor GGUF")


def check_pickles(path: Path, name: str) -> None:
    """Judge a whole file: its start, and what lies in it where it is an archive. Blocks.

    Raises:
        BadModelFile: it is or holds a pickle, or may; or is called as pickles are and is no sound file of another kind.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(LOOK)
        check_head(head, name)
        if len(head) < LOOK:
            _check_content(head, len(head), name, name)
        else:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                _check_content(data, len(data), name, name)
    if _suffix(name) in _PICKLED:
        (check_gguf if head.startswith(_GGUF) else check_safetensors)(path, name)
    check_archive(path, head, name, partial(_check_member, name))


def _check_content(data: Bytes, size: int, called: str, name: str) -> None:
    """Judge the first `data` of a file's `size` bytes; `called` is its own name, `name` the one for the refusal."""
    head = data[: numpy_header.MAX_START]
    if head.startswith(numpy_header.MAGIC) and not numpy_header.is_plain(head):
        raise _refusal(name, "it is a numpy file of pickled objects, or of no plain numbers")
    # An archive's first letters are an operation that asks a stranger for an object; what is in it is looked at.
    if not is_zip(head) and may_import(data, size, is_word_list=_suffix(called) in _WORD_LISTS):
        raise _refusal(name, "it is a pickle")


def _check_member(name: str, inner: str, head: bytes, size: int) -> None:
    if _suffix(inner) in _PICKLED or _is_marked(head, inner):
        raise _refusal(name, f"it is an archive with the pickle {inner[:100]!r}")
    if is_zip(head) or is_tar(head):
        raise BadModelFile("archive", f"{name} is an archive with the archive {inner[:100]!r}, which no model is")
    _check_content(head, size, inner, name)


def _is_marked(head: bytes, name: str) -> bool:
    return bool(_MARKED.match(head)) and not (_suffix(name) == ".safetensors" and _is_safetensors(head))


def _suffix(name: str) -> str:
    return "." + name.rpartition(".")[2].lower()


def _is_safetensors(head: bytes) -> bool:
    """Whether the first bytes are the length of a header and its brace; a length of 640 and others read like PROTO."""
    return int.from_bytes(head[:8], "little") <= MAX_HEADER and head[8:9] == b"{"


def _refusal(name: str, why: str) -> BadModelFile:
    return BadModelFile(
        "pickle", f"{name} runs code when it is opened ({why}): name a safetensors, GGUF or ONNX file instead"
    )
