"""The installed engines and which of them the operator lets be used: one way for the worker and for every command."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING

from studio_worker.engines.certification import is_certified, needs_certificate, refuse_uncertified, with_certificates
from studio_worker.engines.description import EngineDescription, disable
from studio_worker.engines.environments import list_environments
from studio_worker.engines.plugins import TIMEOUT_SECS, discover
from studio_worker.engines.surroundings import Surroundings, meet
from studio_worker.engines.whereabouts import find_plugins

if TYPE_CHECKING:
    from studio_worker.config import Config
    from studio_worker.engines.description_cache import DescriptionCache


async def installed_engines(
    config: Config,
    *,
    strict: bool = False,
    timeout_secs: float = TIMEOUT_SECS,
    cache: DescriptionCache | None = None,
) -> tuple[EngineDescription, ...]:
    """Every installed engine with its certificate, for whoever asks once; `in_force` says which may be used.

    Each is described by the interpreter that it would run on: those in environments of their own are among them.

    Args:
        config: the settings, which name environments, tables and what is disabled.
        strict: raise where a plugin or an environment is broken.
        timeout_secs: for each question to an interpreter.
        cache: for commands that only list.

    Raises:
        PluginError: with `strict`, naming everything that is broken.
    """
    environments = await asyncio.to_thread(list_environments, config)
    places = await find_plugins(environments, config.disabled_engines, timeout_secs=timeout_secs)
    found = await discover(
        places.plugins,
        config.plugins,
        disabled=config.disabled_engines,
        strict=strict,
        timeout_secs=timeout_secs,
        cache=cache,
        known=places.entries,
    )
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
    refused = {_package(each) for each in known if needs_certificate(each) and not is_certified(each)}
    return tuple(each for each in known if _package(each) not in refused)


def _package(engine: EngineDescription) -> tuple[str, str]:
    """A package where it lies: the copy in an environment of its own is another one."""
    return (engine.distribution, engine.environment)
