"""Where a local result goes: a file that is never overwritten unasked, or stdout."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from studio_worker.cli import output
from studio_worker.cli.generate_fields import known_exts
from studio_worker.errors import StudioWorkerError
from studio_worker.fetch.resumable_file import give_name
from studio_worker.private_file import reason
from studio_worker.text import escape
from studio_worker.wire.kinds import TaskKind
from studio_worker.wire.results import MEDIA_TYPES

STDOUT = Path("-")

NAMES = {
    TaskKind.IMAGE: "image",
    TaskKind.VIDEO: "video",
    TaskKind.AUDIO_TTS: "speech",
    TaskKind.LLM: "answer",
    TaskKind.AUDIO_STT: "transcript",
}
"""What a file of each kind is called where nobody says how."""

_FORMATS = ("image/", "audio/", "video/", "text/", "application/json")
"""Beginnings of the media types whose endings people take for what is in a file."""


class ResultNotWritten(StudioWorkerError):
    """A result cannot be written to where it was wanted."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a result goes.

    Attributes:
        kind: what is made.
        out: the path of `-o`: a file, a folder that is there, ``-`` for stdout; None: stdout for text, a new file in
            the working folder for bytes.
        may_replace: whether a file that is there may be replaced.
    """

    kind: TaskKind
    out: Path | None = None
    may_replace: bool = False

    @property
    def is_stdout(self) -> bool:
        """Whether the result is printed."""
        return self.out == STDOUT or (self.out is None and not self.kind.is_binary)

    def check(self, *, as_json: bool) -> None:
        """Look, before anything is made, whether the result could be kept.

        Raises:
            click.UsageError: there is no such folder, the file is there already, its name ends as no result of the kind
                can, or stdout is taken.
        """
        if self.out is None:
            return
        if self.out == STDOUT:
            if as_json:
                raise click.UsageError("--json prints to stdout: give -o a file")
            if self.kind.is_binary and output.is_terminal(sys.stdout):
                raise click.UsageError("-o - would write bytes to the terminal: send them to a file or a pipe")
            return
        shown = escape(str(self.out), limit=300)
        if not self.out.is_dir() and not self.out.parent.is_dir():
            raise click.UsageError(f"-o: there is no folder {escape(str(self.out.parent), limit=300)}")
        ext = self.out.suffix[1:].lower()
        if not self.out.is_dir() and _is_foreign(self.kind, ext):
            given = ", ".join(known_exts(self.kind)) or "text, and JSON where the name ends in .json"
            raise click.UsageError(f"-o: {shown}: kind {self.kind.value} gives no {ext}; it gives {given}")
        if self.out.is_file() and not self.may_replace:
            raise click.UsageError(f"-o: {shown} is there already: give another name, or --force to replace it")

    def write(self, data: bytes, *, seed: object, ext: str) -> Path:
        """Write the result to a file; returns where.

        Args:
            data: the whole result.
            seed: what it was made with, for the name where none was given.
            ext: what it is, for that name.

        Raises:
            ResultNotWritten: the disk refuses, or the file is there now.
        """
        folder = self.out if self.out is not None and self.out.is_dir() else Path()
        named = None if self.out is None or folder == self.out else self.out
        names = [named] if named is not None else _free_names(folder / f"{NAMES[self.kind]}-{seed}", ext)
        for path in names:
            try:
                _write(path, data, may_replace=self.may_replace)
            except FileExistsError:
                continue
            except OSError as error:
                raise ResultNotWritten(
                    f"{escape(str(path), limit=300)} cannot be written: {reason(error)}; give -o another place"
                ) from None
            return path
        raise ResultNotWritten(f"{escape(str(self.out), limit=300)} is there now: give -o another name, or --force")


def print_bytes(data: bytes) -> None:
    """Bytes on stdout."""
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def _is_foreign(kind: TaskKind, ext: str) -> bool:
    """Whether a file's ending is that of a format that no result of this kind has; any other is a part of its name."""
    if ext in known_exts(kind):
        return False
    if ext in MEDIA_TYPES:
        return True
    if not kind.is_binary:
        return False
    from mimetypes import MimeTypes

    return (MimeTypes().guess_type(f"a.{ext}", strict=False)[0] or "").startswith(_FORMATS)


def _free_names(stem: Path, ext: str) -> Iterator[Path]:
    yield stem.with_name(f"{stem.name}.{ext}")
    for number in range(2, 10_000):
        yield stem.with_name(f"{stem.name}-{number}.{ext}")


def _write(path: Path, data: bytes, *, may_replace: bool) -> None:
    """Whole or not at all. A device or a pipe is written to, never replaced. Raises OSError."""
    if path.exists() and not path.is_file():
        path.write_bytes(data)
        return
    if not may_replace and os.path.lexists(path):
        raise FileExistsError(f"{path} is there already")
    part = path.with_name(f".{path.name[:50]}.{secrets.token_hex(6)}.part")
    file = part.open("xb")
    try:
        # Closed before it is moved: Windows moves no file that is open.
        with file:
            file.write(data)
        if may_replace:
            part.replace(path)
        else:
            give_name(part, path)
    finally:
        part.unlink(missing_ok=True)
