"""The model store: finds the files that a claim names where they lie under `models_root`, and checks them.

A file is right when it is a regular file (or an operator's symbolic link to one), its size is near the size that the
claim tells, and its SHA-256 is the one that the claim gives. Hashing happens once: the sum is remembered for as
long as size and modification time stay the same. Nothing is ever written, moved or deleted here.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from studio_worker.errors import BadClaim, ModelUnavailable
from studio_worker.log import logger
from studio_worker.models.files import LoadOptions, ModelFiles
from studio_worker.text import escape
from studio_worker.wire.model_source import ModelFile, ModelSource, plain_file_name

SIZE_FACTOR = 2.0
"""`approxBytes` is an estimate that people type: a file off by more than this factor is another file."""

_HASH_CHUNK = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a file was when it was looked at."""

    path: Path
    size: int
    mtime_ns: int


class Store:
    """Files on disk by role.

    Args:
        root: the models folder of this moment.
    """

    def __init__(self, root: Callable[[], Path]) -> None:
        self._root = root
        self._sums: dict[Path, tuple[_Seen, str]] = {}
        self._hashing: dict[Path, asyncio.Lock] = {}

    async def provision(self, model: str, source: ModelSource, options: LoadOptions) -> ModelFiles:
        """The model's files, present and checked; files of one role keep the claim's order.

        Raises:
            BadClaim: a file name is not one plain component.
            ModelUnavailable: a file is missing, is no regular file, or is not the one that the claim names;
                another worker may have it, so another try can help.
        """
        if not source.files:
            return ModelFiles(id=model, source=source, options=options)
        for index, file in enumerate(source.files):
            try:
                plain_file_name(file.filename)
            except ValueError as error:
                raise BadClaim(f"modelSource.files.{index}.filename", str(error)) from None
        root = self._root()
        folders = _folders(root, model)
        found = [await self._find(file, root, folders) for file in source.files]
        files: dict[str, list[Path]] = {}
        for file, path in zip(source.files, found, strict=True):
            files.setdefault(file.role, []).append(path)
        return ModelFiles(id=model, source=source, files=files, options=options, dir=_common_folder(found))

    async def _find(self, file: ModelFile, root: Path, folders: Sequence[Path]) -> Path:
        """The first of `folders` that holds the right file; else the first reason why none does."""
        problems: list[str] = []
        for folder in folders:
            path = folder / file.filename
            seen = await asyncio.to_thread(_look, path)
            if isinstance(seen, _Seen):
                problem = _size_problem(file, seen) or await self._sum_problem(file, seen)
                if problem is None:
                    return path
                problems.append(problem)
            elif seen is not None:
                problems.append(seen)
        if problems:
            raise ModelUnavailable(f"model file {problems[0]}")
        raise ModelUnavailable(
            f"model file {escape(file.filename)} (role {file.role}) is not in {root}; "
            f"put it there from {escape(file.url.split('?', 1)[0], limit=300)}"
        )

    async def _sum_problem(self, file: ModelFile, seen: _Seen) -> str | None:
        if file.sha256 is None:
            return None
        async with self._hashing.setdefault(seen.path, asyncio.Lock()):
            known = self._sums.get(seen.path)
            if known is None or known[0] != seen:
                try:
                    known = (seen, await asyncio.to_thread(_sha256, seen.path))
                except OSError as error:
                    return f"{seen.path} cannot be read: {error.strerror or error}"
                self._sums[seen.path] = known
                logger.bind(event="models.hashed", file=seen.path.name, size=seen.size).info("Hashed a model file")
        if known[1] != file.sha256.lower():
            return f"{seen.path} has the SHA-256 {known[1]}, the claim names {file.sha256.lower()}"
        return None


def sanitised(model: str) -> str:
    """A model id as a folder name: other characters than ``A-Z a-z 0-9 . _ -`` become ``_``, as does a first dot."""
    name = re.sub(r"[^A-Za-z0-9._-]", "_", model)[:200] or "_"
    return "_" + name[1:] if name.startswith(".") else name


def _folders(root: Path, model: str) -> tuple[Path, ...]:
    """Where a model's files may lie: flat, then as the older worker laid them out."""
    name = sanitised(model)
    return (root, root / name, root / "llm", root / "stt", root / "stt" / name)


def _common_folder(found: Sequence[Path]) -> Path | None:
    folders = {path.parent for path in found}
    return folders.pop() if len(folders) == 1 else None


def _look(path: Path) -> _Seen | str | None:
    """What lies at `path`: a regular file, the reason why it is of no use, or nothing."""
    try:
        state = path.stat()
    except FileNotFoundError:
        return f"{path} is a link to a file that is not there" if path.is_symlink() else None
    except NotADirectoryError:
        return None
    except OSError as error:
        return f"{path} cannot be read: {error.strerror or error}"
    if not stat.S_ISREG(state.st_mode):
        return f"{path} is {'a folder' if stat.S_ISDIR(state.st_mode) else 'no regular file'}"
    return _Seen(path, state.st_size, state.st_mtime_ns)


def _size_problem(file: ModelFile, seen: _Seen) -> str | None:
    if seen.size == 0:
        return f"{seen.path} is empty"
    if not file.approx_bytes or file.approx_bytes / SIZE_FACTOR <= seen.size <= file.approx_bytes * SIZE_FACTOR:
        return None
    return f"{seen.path} has {seen.size:,} bytes, the claim names about {file.approx_bytes:,}"


def _sha256(path: Path) -> str:
    total = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_HASH_CHUNK):
            total.update(chunk)
    return total.hexdigest()
