"""Which of the engines that were found may be used: one way for the worker and for every command."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from studio_worker.engines.certification import is_certified, needs_certificate, refuse_uncertified
from studio_worker.engines.description import EngineDescription, disable
from studio_worker.engines.surroundings import Surroundings, meet

if TYPE_CHECKING:
    from studio_worker.config import Config


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
