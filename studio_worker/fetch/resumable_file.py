"""A file whose download outlives its process: `<name>.part`, and a note that says what it is a part of."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from dataclasses import asdict, dataclass
from pathlib import Path

from studio_worker.fetch.disk import nearest_folder
from studio_worker.private_file import sync_folder, write_atomically
from studio_worker.wire.strict_json import NotJson, dumps, loads

NOTES = ".downloads"
"""The folder, beside the files, of notes and locks; a claim's file name never starts with a dot."""

_MAX_NAME = 200
"""Bytes of a name that still takes the endings of part, note and the note's temporary file; systems stop at 255."""


@dataclass(frozen=True, slots=True)
class Note:
    """What a part is a part of.

    Attributes:
        source: a mark of the URL that its bytes came from (`source_mark`).
        validator: a strong ETag, or a Last-Modified date: what an `If-Range` header can ask with; empty: none.
        total: bytes of the whole file, None where nobody said.
        sha256: the hash that the whole file must have, None where nobody said.
    """

    source: str
    validator: str = ""
    total: int | None = None
    sha256: str | None = None


class ResumableFile:
    """The bytes of `dest` that have come so far. Methods block for the disk and may raise OSError.

    Args:
        dest: where the whole file goes; its folder must exist.
    """

    def __init__(self, dest: Path) -> None:
        self.dest = dest
        self.path = dest.with_name(_short(dest.name) + ".part")
        self._note_path = note_folder(dest) / f"{_short(dest.name)}.json"

    def look(self) -> int:
        """Bytes on disk; what is no regular file counts as nothing and is never opened."""
        try:
            found = self.path.lstat()
        except OSError:
            return 0
        return found.st_size if stat.S_ISREG(found.st_mode) else 0

    def note(self) -> Note | None:
        """What the part is a part of, where that is known."""
        try:
            raw = loads(self._note_path.read_bytes())
        except (OSError, NotJson):
            return None
        fields = raw if isinstance(raw, dict) else {}
        source, validator, total, sha256 = (fields.get(key) for key in ("source", "validator", "total", "sha256"))
        if not isinstance(source, str) or not isinstance(validator, str):
            return None
        return Note(
            source, validator, total if isinstance(total, int) else None, sha256 if isinstance(sha256, str) else None
        )

    def progress(self) -> tuple[int, int | None]:
        """Bytes here, and bytes of the whole file where they are known."""
        note = self.note()
        return self.look(), note.total if note is not None else None

    def restart(self, note: Note) -> None:
        """Drop what there is, and remember what the bytes that follow are a part of."""
        self.path.unlink(missing_ok=True)
        self._note_path.parent.mkdir(exist_ok=True)
        write_atomically(self._note_path, dumps(asdict(note)).encode(), mode=0o644)

    def open(self, start: int) -> int:
        """A descriptor at byte `start`, behind which nothing lies; a link or a pipe of that name is replaced."""
        if self.path.is_symlink() or (self.path.exists() and not self.path.is_file()):
            self.path.unlink()
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
        descriptor = os.open(self.path, flags | getattr(os, "O_BINARY", 0), 0o644)
        try:
            os.ftruncate(descriptor, start)
            os.lseek(descriptor, start, os.SEEK_SET)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def finish(self) -> None:
        """Give the whole file its name; what lies there already is never overwritten.

        Raises:
            FileExistsError: something has that name.
        """
        give_name(self.path, self.dest)
        sync_folder(self.dest.parent)
        self._note_path.unlink(missing_ok=True)

    def discard(self) -> None:
        """Leave nothing behind."""
        self.path.unlink(missing_ok=True)
        self._note_path.unlink(missing_ok=True)


def give_name(part: Path, dest: Path) -> None:
    """Call a whole file by its name, and by no other; what lies there already is never overwritten.

    Raises:
        FileExistsError: something has that name.
    """
    try:
        os.link(part, dest, follow_symlinks=False)
    except FileExistsError:
        raise
    except OSError:
        # A file system without hard links (FAT, some network shares).
        if os.path.lexists(dest):
            raise FileExistsError(f"{dest} is there already") from None
        part.rename(dest)
    part.unlink(missing_ok=True)


def source_mark(url: str) -> str:
    """What tells one URL from another: a hash, since others may read a note and URLs hold signatures."""
    return hashlib.sha256(url.encode(errors="surrogatepass")).hexdigest()


def note_folder(dest: Path) -> Path:
    """Where notes and locks of `dest` lie."""
    return dest.parent / NOTES


def lock_path(dest: Path) -> Path:
    """The file that a process locks while it downloads `dest`."""
    return note_folder(dest) / f"{_short(dest.name)}.lock"


def check_writable(dest: Path) -> None:
    """See whether a download of `dest` could begin, as far as that shows without writing. Blocks.

    Raises:
        OSError: its folder cannot be made, or not written to.
    """
    for folder in (note_folder(dest), dest.parent):
        there = nearest_folder(folder)
        if not there.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(there))
        if not os.access(there, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(there))


def _short(name: str) -> str:
    """A name that still takes an ending. One that is no valid UTF-8 may lie in the folder too."""
    raw = name.encode(errors="surrogatepass")
    if len(raw) <= _MAX_NAME:
        return name
    return f"{raw[: _MAX_NAME - 17].decode(errors='ignore')}-{hashlib.sha256(raw).hexdigest()[:16]}"
