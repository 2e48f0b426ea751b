"""One worker for each state folder."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from studio_worker.errors import AlreadyRunning, ConfigError, NoRoom
from studio_worker.private_file import is_full, make_private_folder, reason, write_atomically

if TYPE_CHECKING:
    from filelock import FileLock


class StateLock:
    """Holds a state folder for this process: ``with StateLock(folder): …``.

    The lock is the operating system's (flock, or its like on Windows), so it ends with its process however that dies,
    and a pid that was given to another process since cannot keep it. The pid lies in a file of its own, because a
    locked file cannot be read on Windows. Where the system can lock a folder, the folder itself is locked too: the lock
    file may be removed under a live worker, by somebody who takes it for stale. Not for network file systems.

    Args:
        state_dir: the folder; made at mode 0700.
    """

    def __init__(self, state_dir: Path) -> None:
        self._dir = state_dir
        self._pid_file = state_dir / "worker.pid"
        self._lock: FileLock | None = None
        self._folder: int | None = None

    def acquire(self) -> None:
        """Take the folder; blocks for the disk, never for the other holder.

        Raises:
            AlreadyRunning: another worker holds it; names its process id.
            NoRoom: its disk is full and no lock lies there yet.
            ConfigError: the folder cannot be made or written.
        """
        from filelock import FileLock, Timeout

        try:
            make_private_folder(self._dir)
            self._folder = _locked(self._dir)
            lock = FileLock(self._dir / "worker.lock", timeout=0, thread_local=False)
            lock.acquire()
            self._lock = lock
            self._tell_holder()
        except (Timeout, BlockingIOError):
            self.release()
            raise AlreadyRunning(
                f"another worker{self._holder()} uses {self._dir}: stop it, or give this one a state_dir of its own"
            ) from None
        except OSError as error:
            self.release()
            if is_full(error):
                raise NoRoom(
                    f"the state folder {self._dir} cannot be used: {reason(error)}; make room, and start again"
                ) from None
            raise ConfigError(
                f"the state folder {self._dir} cannot be used: {reason(error)}; make it writable or set state_dir"
            ) from None

    async def take(self) -> None:
        """`acquire` off the event loop; after a cancelled call the folder may be held, and `release` gives it back."""
        taking = asyncio.create_task(asyncio.to_thread(self.acquire))
        try:
            await asyncio.shield(taking)
        except asyncio.CancelledError:
            # The thread cannot be called back: a lock that it takes now has to be there to be released.
            await asyncio.wait([taking])
            raise

    def release(self) -> None:
        """Give the folder back; harmless where it is not held."""
        lock, self._lock = self._lock, None
        if lock is not None:
            with suppress(OSError):
                if self._pid() == str(os.getpid()):
                    self._pid_file.unlink(missing_ok=True)
            lock.release()
        folder, self._folder = self._folder, None
        if folder is not None:
            os.close(folder)

    def _tell_holder(self) -> None:
        """Only a sentence of others wants the number: a full disk, which deliveries may empty, is no reason to end."""
        try:
            write_atomically(self._pid_file, f"{os.getpid()}\n".encode())
        except OSError as error:
            if not is_full(error):
                raise

    def _holder(self) -> str:
        pid = self._pid()
        return f" (process {pid})" if pid.isdigit() else ""

    def _pid(self) -> str:
        """What the pid file holds; nothing where it cannot be read."""
        try:
            return self._pid_file.read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            return ""

    def __enter__(self) -> StateLock:
        """Take the folder."""
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the folder back."""
        self.release()


def _locked(folder: Path) -> int | None:
    """A descriptor that locks the folder until it is closed; None where system or file system can lock none.

    Raises:
        BlockingIOError: another process, or another part of this one, holds the lock.
        OSError: the folder cannot be opened.
    """
    if sys.platform == "win32":
        return None
    import fcntl

    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except PermissionError:
        # A folder that can be written and not be read: the lock file has to do.
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise
    except OSError:
        # Each file system that knows no such lock has an error of its own for it: EINVAL, ENOTSUP, ENOLCK, EBADF.
        os.close(descriptor)
        return None
    return descriptor
