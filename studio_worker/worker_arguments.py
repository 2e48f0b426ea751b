"""What an embedder hands to a `Worker`, its types looked at where it is handed over."""

from __future__ import annotations

from collections.abc import Iterable

from studio_worker.config import Config
from studio_worker.engines.base import Engine
from studio_worker.engines.installed_engines import InstalledEngines


def check_arguments(config: object, installed: object) -> None:
    """Pass where both are what a worker can use.

    Raises:
        TypeError: the sentence names the argument.
    """
    if not isinstance(config, Config):
        raise TypeError(f"config: a Config is needed, not {_kind(config)}")
    if installed is not None and not isinstance(installed, InstalledEngines):
        raise TypeError(f"installed: an InstalledEngines is needed, not {_kind(installed)}")


def checked_engines(engines: object) -> tuple[Engine | str, ...]:
    """The engines that are given, each an object or the path of a factory.

    Raises:
        TypeError: the sentence names the argument, or the place in it.
    """
    if isinstance(engines, str) or not isinstance(engines, Iterable):
        raise TypeError(f"engines: a list of engines is needed, not {_kind(engines)}")
    given = tuple(engines)
    for place, engine in enumerate(given):
        if isinstance(engine, type):
            raise TypeError(
                f"engines[{place}]: {engine.__name__} is a class: give an object of it, {engine.__name__}(…)"
            )
        if not isinstance(engine, (Engine, str)):
            raise TypeError(f"engines[{place}]: an Engine or 'package.module:factory' is needed, not {_kind(engine)}")
    return given


def _kind(value: object) -> str:
    return "None" if value is None else type(value).__name__
