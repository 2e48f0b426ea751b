"""Whether downloads fit onto their disk, asked before they fill it."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from studio_worker.errors import ModelUnavailable
from studio_worker.log import logger

FACTOR = 1.05
RESERVE_BYTES = 2**30
"""A disk that is filled to its last byte takes the journal and the machine with it."""


class Reservation:
    """The room of one download: the bytes that it still has to write.

    Args:
        missing_bytes: how many.
        release: gives the room back.
    """

    def __init__(self, missing_bytes: int, release: Callable[[Reservation], None]) -> None:
        self.missing_bytes = missing_bytes
        self._release = release

    def written(self, count: int) -> None:
        """So many of them are on their way to the disk."""
        self.missing_bytes = max(self.missing_bytes - count, 0)

    def release(self) -> None:
        """Nothing more will be written."""
        self._release(self)

    def extended(self, count: int) -> None:
        """So many more are still to be written."""
        self.missing_bytes += count


class DiskSpace:
    """The room of each disk, less what the downloads of this process still have to write.

    Args:
        free_bytes: the free bytes of the disk on which a folder lies; raises OSError where nobody knows.
    """

    def __init__(self, free_bytes: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free) -> None:
        self._free_bytes = free_bytes
        self._lock = threading.Lock()
        self._reservations: dict[int, list[Reservation]] = {}

    def reserve(self, folder: Path, missing_bytes: int, what: str) -> Reservation:
        """Hold the room for `missing_bytes` more, so that of two downloads that fit one by one, one is told. Blocks.

        Raises:
            ModelUnavailable: the disk would be all but full; another worker, or this one later, may have the room.
            OSError: the folder cannot be looked at.
        """
        there = nearest_folder(folder)
        with self._lock:
            reservations = self._reservations.setdefault(there.stat().st_dev, [])
            reservation = Reservation(max(missing_bytes, 0), reservations.remove)
            self._check(there, reservation.missing_bytes, what)
            reservations.append(reservation)
        return reservation

    def extend(self, reservation: Reservation, folder: Path, more_bytes: int, what: str) -> None:
        """Hold the room for `more_bytes` beyond those of `reservation`, whose file turns out to be longer. Blocks.

        Raises:
            ModelUnavailable: as `reserve` does; the reservation stays as it was.
            OSError: the folder cannot be looked at.
        """
        there = nearest_folder(folder)
        with self._lock:
            self._check(there, more_bytes, what)
            reservation.extended(more_bytes)

    def check(self, folder: Path, missing_bytes: int, what: str, *, freed: Sequence[tuple[Path, int]] = ()) -> None:
        """Refuse what would not fit now, without holding the room. Blocks.

        Args:
            folder: where it is to lie.
            missing_bytes: how much of it is not there yet.
            what: the subject of the sentence.
            freed: files that will have gone by then, with their bytes; those of another disk free nothing here.

        Raises:
            ModelUnavailable: as `reserve` does.
            OSError: the folder cannot be looked at.
        """
        there = nearest_folder(folder)
        device = there.stat().st_dev
        freed_bytes = sum(size for path, size in freed if _device(path) == device)
        with self._lock:
            self._check(there, max(missing_bytes, 0), what, freed_bytes=freed_bytes)

    def _check(self, there: Path, missing_bytes: int, what: str, *, freed_bytes: int = 0) -> None:
        """The rule; with the lock held."""
        if not missing_bytes:
            return
        reservations = self._reservations.get(there.stat().st_dev, ())
        reserved_bytes = sum(each.missing_bytes for each in reservations)
        try:
            free = self._free_bytes(there) + freed_bytes
        except OSError as error:
            logger.bind(event="fetch.disk_unknown", folder=str(there), error=str(error)).warning(
                "How much room a disk has is not known; the download is tried"
            )
            return
        need = int((missing_bytes + reserved_bytes) * FACTOR) + RESERVE_BYTES
        if free < need:
            others = " and other downloads" if reserved_bytes else ""
            raise ModelUnavailable(
                f"not enough disk space for {what}{others}: {need:,} bytes are needed in {there} "
                f"(a reserve included), {free:,} are free; free some, or set models_root or models_quota_gb"
            )


def nearest_folder(folder: Path) -> Path:
    """The folder, or the one above it that is there: what is going to hold it. Blocks.

    Raises:
        FileNotFoundError: there is none, as on a Windows drive that is not plugged in.
        OSError: it cannot be looked at.
    """
    found = next((each for each in (folder, *folder.parents) if each.exists()), None)
    if found is None:
        # Named, as StopIteration would be what no future can hold: whoever waits for the thread would wait for ever.
        raise FileNotFoundError(f"neither {folder} nor a folder above it is there: is its drive plugged in?")
    return found


def _device(path: Path) -> int | None:
    try:
        return path.stat().st_dev
    except OSError:
        return None
