"""Whether a download fits onto its disk, asked before it fills it."""

from __future__ import annotations

import shutil
from pathlib import Path

from studio_worker.errors import FetchFailed
from studio_worker.log import logger

FACTOR = 1.05
RESERVE_BYTES = 2**30
"""A disk that is filled to its last byte takes the journal and the machine with it."""


def check_room(folder: Path, missing_bytes: int, what: str) -> None:
    """Refuse a download of `missing_bytes` more that would leave the disk of `folder` all but full. Blocks.

    Raises:
        FetchFailed: with both numbers; another worker, or this one later, may have the room.
    """
    if missing_bytes <= 0:
        return
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        logger.bind(event="fetch.disk_unknown", folder=str(folder), error=str(error)).warning(
            "How much room a disk has is not known; the download is tried"
        )
        return
    need = int(missing_bytes * FACTOR) + RESERVE_BYTES
    if free < need:
        raise FetchFailed(
            f"not enough disk space for {what}: {need:,} bytes are needed in {folder} (a reserve included), "
            f"{free:,} are free; free some, or set models_root or models_quota_gb"
        )
