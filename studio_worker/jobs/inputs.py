"""The inputs of a job, fetched before its engine runs, for every engine."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from studio_worker.jobs.local_inputs import copy_in
from studio_worker.jobs.plan import Wanted


class InputFetcher(Protocol):
    """What fetching asks of `studio_worker.fetch.http.Fetcher`."""

    async def fetch(self, url: str, dest: Path, *, limit_bytes: int, what: str) -> object:
        """Fetch `url` into `dest`. Raises FetchRefused or FetchFailed."""
        ...


async def fetch_inputs(wanted: Sequence[Wanted], fetcher: InputFetcher, work_dir: Path) -> Mapping[str, Path]:
    """Every input as a file in `work_dir`, by role.

    All are fetched side by side, a local caller's own files copied; the first failure ends the others.

    Args:
        wanted: what the task names.
        fetcher: the guarded client.
        work_dir: the job's own folder.

    Raises:
        ExceptionGroup: of FetchRefused, FetchFailed and BadInput, the first one first.
    """
    files: dict[str, Path] = {item.role: work_dir / f"input-{item.role}" for item in wanted}
    async with asyncio.TaskGroup() as group:
        for item in wanted:
            group.create_task(_bring(item, files[item.role], fetcher), name=f"input-{item.role}")
    return files


async def _bring(item: Wanted, dest: Path, fetcher: InputFetcher) -> None:
    if item.path is not None:
        await copy_in(item.path, dest, limit_bytes=item.limit_bytes, what=item.field)
    else:
        await fetcher.fetch(item.url, dest, limit_bytes=item.limit_bytes, what=item.field)
