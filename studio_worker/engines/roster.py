"""The installed engines and which of them the operator lets be used: one way for the worker and for every command."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from studio_worker.engines.certificates import MAX_FILES
from studio_worker.engines.certification import is_certified, needs_certificate, refuse_uncertified, with_certificates
from studio_worker.engines.description import EngineDescription, disable
from studio_worker.engines.surroundings import Surroundings, meet
from studio_worker.engines.whereabouts import found_engines

if TYPE_CHECKING:
    from studio_worker.config import Config
    from studio_worker.engines.description_cache import DescriptionCache


async def installed_engines(
    config: Config, *, strict: bool = False, cache: DescriptionCache | None = None
) -> tuple[EngineDescription, ...]:
    """Every engine of the installed plugins, with its certificate; `in_force` says which may be used.

    Those in environments of their own are among them.

    Raises:
        PluginError: with `strict`, where a plugin is broken.
    """
    found = await found_engines(config, strict=strict, cache=cache)
    return await asyncio.to_thread(with_certificates, found, config.certificates_path)


def in_force(
    engines: Iterable[EngineDescription], config: Config, around: Surroundings
) -> tuple[EngineDescription, ...]:
    """The same engines, with those out of use that may not, or cannot, be used.

    The machine lacks what they need, the operator disabled them, or they lack a certificate that is required.

    Args:
        engines: as they were found.
        config: the settings in force.
        around: the machine.
    """
    allowed = disable(meet(engines, around), config.disabled_engines)
    return refuse_uncertified(allowed) if config.require_certified_engines else allowed


def trusted(engines: Iterable[EngineDescription], config: Config) -> tuple[EngineDescription, ...]:
    """Those whose packages may be imported into the worker itself, to hear of its jobs.

    Of a package with an engine that lacks a certificate it needs, none: what may not run jobs may not hear of them.
    """
    known = tuple(engines)
    if not config.require_certified_engines:
        return known
    refused = {each.distribution for each in known if needs_certificate(each) and not is_certified(each)}
    return tuple(each for each in known if each.distribution not in refused)


class CertificateWatch:
    """Notices that certificates have come, gone or become others: by the names and times of a folder's files.

    Args:
        folder: that folder; it may not be there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._mark = self._look()

    def has_changed(self) -> bool:
        """Whether the folder's files are others than at the last call."""
        before, self._mark = self._mark, self._look()
        return self._mark != before

    def _look(self) -> frozenset[tuple[str, int, int]]:
        try:
            with os.scandir(self._folder) as entries:
                certificates = [entry for entry in entries if entry.name.endswith(".json")]
        except OSError:
            return frozenset()
        read = sorted(certificates, key=lambda entry: entry.name)[:MAX_FILES]
        return frozenset(_mark(entry) for entry in read)


def _mark(file: os.DirEntry[str]) -> tuple[str, int, int]:
    try:
        found = file.stat()
    except OSError:
        return (file.name, 0, 0)
    return (file.name, found.st_mtime_ns, found.st_size)
