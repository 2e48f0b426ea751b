"""Small files that only their owner may read: refused when others can, replaced whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
import stat
import sys
from contextlib import suppress
from pathlib import Path

from studio_worker.errors import ConfigError
from studio_worker.log import logger

PRIVATE = 0o600
"""Read and write for the owner, nothing for anybody else."""


def make_private_folder(path: Path) -> None:
    """Make a folder with every missing folder above it, all of them closed to others (0700).

    `Path.mkdir` would give the folders above the mode that the umask leaves. What is there stays as it is.

    Raises:
        OSError: it cannot be made.
    """
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(mode=0o700, exist_ok=True)
        # What is put into it and synced is nowhere after a power loss that takes its own name.
        with suppress(OSError):
            sync_folder(folder.parent)
    if not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))


def make_own_folder(path: Path) -> None:
    """`make_private_folder`, and one that is there already has to be the caller's own, and is closed to others.

    A link to such a folder will do: people put folders on other disks. On Windows the access list decides.

    Raises:
        ConfigError: it is another user's; the sentence names the remedy.
        OSError: it cannot be made, or closed.
    """
    make_private_folder(path)
    if sys.platform != "win32":
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _check_owner(path, os.fstat(descriptor))
            _close_to_others(path, descriptor, 0o700)
        finally:
            os.close(descriptor)


def take_as_own(path: Path) -> None:
    """Close a file that is there to others; it has to be a regular one, no symbolic link, and the caller's own.

    A file that is closed already is not opened: closing it again would end the locks that this process has on it. On
    Windows the access list decides.

    Raises:
        ConfigError: it breaks a rule; the sentence names the remedy.
        OSError: it cannot be looked at, or closed.
    """
    if sys.platform == "win32":
        return
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if stat.S_ISLNK(found.st_mode):
        raise ConfigError(
            f"{path} is a symbolic link, which is refused for a file that only its owner may read: put the file itself "
            "there, or link the folder that it is to lie in"
        )
    _check_regular(path, found)
    _check_owner(path, found)
    if _is_open(found):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            _check_owner(path, os.fstat(descriptor))
            _close_to_others(path, descriptor, PRIVATE)
        finally:
            os.close(descriptor)


def read_private(path: Path, *, limit_bytes: int) -> bytes:
    """The bytes of a file that holds secrets.

    On POSIX the file must be a regular one, no symbolic link, the caller's own, and closed to group and others; on
    Windows the folder's access list decides and modes are not looked at.

    Args:
        path: the file.
        limit_bytes: the largest size that is read.

    Raises:
        FileNotFoundError: there is none.
        ConfigError: it breaks a rule or cannot be read; the sentence names the remedy.
    """
    if path.is_symlink():
        raise ConfigError(
            f"{path} is a symbolic link, which is refused for a file with secrets: put the file itself there"
        )
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
    try:
        descriptor = os.open(path, flags)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {reason(error)}") from None
    try:
        _check(path, os.fstat(descriptor), limit_bytes)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(limit_bytes + 1)
    finally:
        os.close(descriptor)


def write_atomically(path: Path, data: bytes, *, mode: int = PRIVATE) -> None:
    """Replace `path` with `data`: after a crash or a power loss the old file is there or the new one, never neither.

    The temporary file lies beside it, has its final mode from the first byte, and is gone whatever happens (one that
    a kill left behind goes with the next write by the same name).

    Raises:
        OSError: the folder or the disk refuses; the old file is untouched.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(temporary, flags, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if sys.platform != "win32":
                os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            sync_file(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sweep(path: Path) -> None:
    """Remove what killed writers of `path` left behind. Only for the one process that may write it."""
    for leftover in path.parent.glob(f".{path.name}.*.new"):
        leftover.unlink(missing_ok=True)


def is_full(error: OSError) -> bool:
    """Whether the disk, or the share of it that its user has, is full."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def reason(error: Exception) -> str:
    """An error of the operating system in words: ``Permission denied``."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _close_to_others(path: Path, descriptor: int, mode: int) -> None:
    before = os.fstat(descriptor)
    if sys.platform != "win32" and _is_open(before):
        os.fchmod(descriptor, mode)
        logger.bind(event="private.closed", path=str(path), mode=f"{stat.S_IMODE(before.st_mode):04o}").warning(
            "What only its owner may use was open to other users, and is closed to them now"
        )


def _check(path: Path, found: os.stat_result, limit_bytes: int) -> None:
    _check_regular(path, found)
    if found.st_size > limit_bytes:
        raise ConfigError(
            f"{path} has {found.st_size:,} bytes, more than the {limit_bytes:,} that it can have: move it away"
        )
    _check_owner(path, found)
    if sys.platform != "win32" and _is_open(found):
        raise ConfigError(
            f"{path} holds secrets and is open to other users (mode {stat.S_IMODE(found.st_mode):04o}): "
            f"`chmod 600 '{path}'`"
        )


def _check_regular(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise ConfigError(f"{path} is no regular file: move it away")


def _check_owner(path: Path, found: os.stat_result) -> None:
    if sys.platform != "win32" and found.st_uid != os.geteuid():
        raise ConfigError(
            f"{path} belongs to the user with id {found.st_uid}, not to the one that runs this (id {os.geteuid()}): "
            f"run as that user, or `chown {os.geteuid()} '{path}'`"
        )


def is_open_to_others(path: Path) -> bool:
    """Whether other users of this machine may read the file, or write it; never where the system has no modes."""
    try:
        return sys.platform != "win32" and _is_open(path.stat())
    except OSError:
        return False


def _is_open(found: os.stat_result) -> bool:
    return bool(found.st_mode & 0o077)


def sync_file(descriptor: int) -> None:
    """Make a file's bytes and its size outlive a power loss; its times, which cost as much as both, need not.

    On macOS the drive is asked to empty its own cache, which a plain fsync leaves full.

    Raises:
        OSError: the disk refuses.
    """
    if sys.platform == "darwin":
        import fcntl

        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    elif hasattr(os, "fdatasync"):
        os.fdatasync(descriptor)
    else:
        os.fsync(descriptor)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder outlive a power loss; nothing to do on Windows.

    Raises:
        OSError: the disk refuses.
    """
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
