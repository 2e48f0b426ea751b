"""What a process had changed on a disk, call by call, and what a power loss at each moment would have left of it.

The model is the pessimist's of POSIX: bytes are there once their file was synced, names once their folder was. What
was not synced may be there or not, whole or in part.
"""

from __future__ import annotations

import asyncio
import re
import sys
from asyncio.subprocess import DEVNULL
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

CALLS = ("openat", "write", "pwrite64", "ftruncate", "fdatasync", "fsync", "rename", "unlink")

_LINE = re.compile(r"^(?P<thread>\d+) +(?P<rest>.*)$")
_RESUMED = re.compile(r"^<\.\.\. \w+ resumed>")
_CALL = re.compile(r"^(?P<name>\w+)\((?P<arguments>.*)\)\s+= (?P<result>-?\d+)")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_FILE = re.compile(r"^\d+<((?:\\x[0-9a-f]{2})*)>")


async def recorded(log: Path, script: str, *arguments: str) -> str:
    """The log of all calls of a Python process, which has to come to its end."""
    process = await asyncio.create_subprocess_exec(
        "strace", "-f", "-qq", "-y", "-xx", "-s", "1000000", "-e", f"trace={','.join(CALLS)}", "-o", log,
        sys.executable, "-c", script, *arguments,
        cwd=Path(__file__).parents[2], stdout=DEVNULL,
    )  # fmt: skip
    assert await process.wait() == 0
    return log.read_text()


def lay_out(image: Mapping[Path, bytes], folder: Path) -> Path:
    """The folder, with the files of an image in it."""
    for path, data in image.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


@dataclass(frozen=True, slots=True)
class Call:
    """One call that did something.

    Attributes:
        name: of the call.
        path: of its file, or of what is renamed or removed.
        target: the new name of a rename.
        data: what was written.
        number: where it was written, or the new length; -1: behind what this open file wrote last.
        is_new: whether an `openat` may create the file.
        is_emptied: whether it empties it.
    """

    name: str
    path: Path
    target: Path | None = None
    data: bytes = b""
    number: int = -1
    is_new: bool = False
    is_emptied: bool = False


def read_tape(log: str) -> Iterator[Call]:
    """The calls of a log of ``strace -f -y -xx``, in the order in which they ended."""
    begun: dict[str, str] = {}
    for line in log.splitlines():
        found = _LINE.match(line)
        if found is None:
            continue
        thread, rest = found["thread"], found["rest"]
        if rest.endswith("<unfinished ...>"):
            begun[thread] = rest.removesuffix("<unfinished ...>")
            continue
        if _RESUMED.match(rest):
            rest = begun.pop(thread) + _RESUMED.sub("", rest)
        call = _CALL.match(rest)
        if call is not None and int(call["result"]) >= 0:
            yield _call(call["name"], call["arguments"])


def _call(name: str, arguments: str) -> Call:
    texts = [_bytes(text) for text in _TEXT.findall(arguments)]
    if name == "openat":
        path = Path(texts[0].decode())
        return Call(name, path, is_new="O_CREAT" in arguments, is_emptied="O_TRUNC" in arguments)
    if name in ("rename", "unlink"):
        return Call(name, Path(texts[0].decode()), target=Path(texts[1].decode()) if len(texts) > 1 else None)
    file = _FILE.match(arguments)
    path = Path(_bytes(file[1]).decode()) if file is not None else Path()
    number = int(arguments.rpartition(",")[2]) if name in ("pwrite64", "ftruncate") else -1
    return Call(name, path, data=texts[0] if texts else b"", number=number)


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


@dataclass
class _File:
    synced: bytes = b""
    now: bytearray = field(default_factory=bytearray)
    unsynced: list[tuple[int, bytes]] = field(default_factory=list)
    position: int = 0

    def write(self, at: int, data: bytes) -> None:
        _put(self.now, at, data)
        self.unsynced.append((at, data))

    def sync(self) -> None:
        self.synced, self.unsynced = bytes(self.now), []

    def torn(self, rng: Random) -> bytes:
        """Some of what was not synced, one write of it in part."""
        found = bytearray(self.synced)
        for at, data in self.unsynced:
            if rng.random() < 0.5:
                _put(found, at, data[: rng.randint(0, len(data))] if rng.random() < 0.3 else data)
        return bytes(found)


def _put(content: bytearray, at: int, data: bytes) -> None:
    if len(content) < at:
        content.extend(bytes(at - len(content)))
    content[at : at + len(data)] = data


class Disk:
    """The files below one folder, as a process sees them and as a power loss would leave them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: dict[Path, _File] = {}
        self._synced_names: dict[Path, _File] = {}

    def holds(self, path: Path) -> bool:
        """Whether it is the folder, or below it."""
        return path == self._folder or self._folder in path.parents

    def play(self, call: Call) -> None:
        """Take one call on what it `holds`."""
        if call.name in ("fsync", "fdatasync") and call.path not in self._names:
            elsewhere = {path: file for path, file in self._synced_names.items() if path.parent != call.path}
            here = {path: file for path, file in self._names.items() if path.parent == call.path}
            self._synced_names = elsewhere | here
            return
        if call.name == "openat":
            self._open(call)
            return
        file = self._names.get(call.path)
        if file is None:
            return
        match call.name:
            case "write":
                file.write(file.position, call.data)
                file.position += len(call.data)
            case "pwrite64":
                file.write(call.number, call.data)
            case "ftruncate":
                del file.now[call.number :]
                file.now.extend(bytes(call.number - len(file.now)))
            case "rename":
                assert call.target is not None
                self._names[call.target] = self._names.pop(call.path)
            case "unlink":
                del self._names[call.path]
            case _:
                file.sync()

    def _open(self, call: Call) -> None:
        if call.is_new and call.path not in self._names:
            self._names[call.path] = _File()
        if call.path in self._names:
            self._names[call.path].position = 0
            if call.is_emptied:
                self._names[call.path].now.clear()

    def images(self, rng: Random) -> Iterator[tuple[str, dict[Path, bytes]]]:
        """What a power loss at this moment may leave: each file's bytes by its path in the folder."""
        yield "what was synced", self._image(self._synced_names, lambda file: file.synced)
        yield "all names, synced bytes", self._image(self._names, lambda file: file.synced)
        yield "synced names, all bytes", self._image(self._synced_names, lambda file: bytes(file.now))
        yield "torn writes", self._image(self._names, lambda file: file.torn(rng))

    def _image(self, names: dict[Path, _File], content: Callable[[_File], bytes]) -> dict[Path, bytes]:
        return {path.relative_to(self._folder): content(file) for path, file in names.items()}
