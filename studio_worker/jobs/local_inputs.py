"""Inputs that a caller of this process has on its disk: named in the task, copied to where fetched ones go."""

from __future__ import annotations

import asyncio
import os
import stat
import threading
from collections.abc import Generator, Mapping
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from studio_worker.errors import BadClaim, BadInput
from studio_worker.private_file import reason
from studio_worker.wire.kinds import TaskKind
from studio_worker.wire.tasks import Task

CHUNK_BYTES = 1024 * 1024

INPUT_FIELDS: Mapping[TaskKind, Mapping[str, str]] = {
    TaskKind.IMAGE: {"image": "init_image_url", "mask": "mask_url", "ref_image": "ref_image_url"},
    TaskKind.VIDEO: {"image": "init_image_url"},
    TaskKind.AUDIO_STT: {"audio": "input_url"},
}
"""For each kind that has inputs: role to the task's field that names the input's URL."""


def local_url(role: str) -> str:
    """What stands in a task where a URL would, for an input that lies here; nothing ever fetches it."""
    return f"local:{role}"


def name_inputs(task: Task, given: Mapping[str, Path]) -> tuple[Task, Mapping[str, Path]]:
    """The task with every given input named in it, and the inputs by role.

    Args:
        task: what to make.
        given: paths by role (``image``) or by the task's field (``init_image_url``, ``initImageUrl``).

    Raises:
        BadClaim: the kind has no such input, or the task does not hold with it (a mask without a picture).
    """
    if not given:
        return task, {}
    fields = INPUT_FIELDS.get(task.kind, {})
    role_of = {role: role for role in fields}
    for role, name in fields.items():
        role_of[name] = role_of[str(type(task).model_fields[name].alias)] = role
    own: dict[str, Path] = {}
    for name, path in given.items():
        if name not in role_of:
            known = f"takes {', '.join(fields)}" if fields else "takes no input files"
            raise BadClaim("inputs", f"{name!r} is no input of kind {task.kind.value}, which {known}")
        own[role_of[name]] = path
    carried = {name: getattr(task, name) for name in task.model_fields_set}
    return type(task).model_validate({**carried, **{fields[role]: local_url(role) for role in own}}), own


async def copy_in(path: Path, dest: Path, *, limit_bytes: int, what: str) -> None:
    """Copy a caller's file to `dest`, which must not be there.

    The engine gets a copy, as it gets a fetched file: what it does to it never reaches the caller's own.

    Args:
        path: a regular file.
        dest: the file to make; its folder must exist.
        limit_bytes: the most bytes that it may have.
        what: what it is, the subject of every error's sentence.

    Raises:
        BadInput: it cannot be read, is no regular file, or is too large.
        OSError: the copy cannot be written.
    """
    is_over = threading.Event()
    copying = asyncio.ensure_future(asyncio.to_thread(_copy, path, dest, limit_bytes, what, is_over))
    try:
        await asyncio.shield(copying)
    except asyncio.CancelledError:
        # Nothing may go on behind a job that has ended: its folder is about to be removed.
        is_over.set()
        await asyncio.wait([copying])
        raise


def _copy(path: Path, dest: Path, limit_bytes: int, what: str, is_over: threading.Event) -> None:
    """Trouble with the copy is the worker's own: an OSError. Trouble with the caller's file is the caller's."""
    with closing(_chunks(path, what)) as chunks:
        first = next(chunks, b"")
        with dest.open("xb") as copy:
            size = 0
            for data in chain([first], chunks):
                size += len(data)
                if size > limit_bytes:
                    raise BadInput(f"{what}: {path} is larger than {limit_bytes:,} bytes")
                copy.write(data)
                if is_over.is_set():
                    return


def _chunks(path: Path, what: str) -> Generator[bytes, None, None]:
    try:
        with _opened(path) as file:
            while data := file.read(CHUNK_BYTES):
                yield data
    except (OSError, ValueError) as error:
        raise BadInput(f"{what}: {path} cannot be used: {reason(error)}") from None


def _opened(path: Path) -> BinaryIO:
    """The file, open; a pipe or a device, which might never end, is refused before anything is read."""
    # Not blocking: a named pipe that nobody writes to would hold the thread for ever.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("it is no regular file")
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise
