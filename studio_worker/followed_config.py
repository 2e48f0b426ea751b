"""Settings that change while a worker runs: where they come from, and what of a change is taken."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from studio_worker.config import Config
from studio_worker.log import logger


class FollowedConfig(Protocol):
    """Settings that may change while the worker runs."""

    def refresh(self) -> Config:
        """The settings of this moment; cheap."""
        ...


def in_force(before: Config, wanted: Config, missing: Callable[[Mapping[str, str]], str | None]) -> Config:
    """The settings from now on: what is wanted, but for what needs a restart and for devices that are not here.

    Args:
        before: the settings until now.
        wanted: what the operator has written.
        missing: says what is wrong with devices, by the settings that name them.
    """
    # Token, lock and spool belong to the studio and the folder of the start: a half change would send the token of one
    # studio to another.
    kept = {name: getattr(before, name) for name in ("api_base_url", "state_dir")}
    if any(getattr(wanted, name) != value for name, value in kept.items()):
        logger.bind(event="worker.config").warning("Another api_base_url or state_dir needs a restart")
        wanted = wanted.model_copy(update=kept)
    if (problem := missing(wanted.devices)) is not None:
        logger.bind(event="worker.config", reason=problem).warning("The devices in force stay as they were")
        wanted = wanted.model_copy(update={"device": before.device, "plugins": before.plugins})
    logger.bind(event="worker.config").info("The settings have changed and are in force")
    return wanted
