"""Settings that change while a worker runs: where they come from, and what of a change is taken."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from studio_worker.config import Config
from studio_worker.log import logger

AT_THE_START = ("api_base_url", "state_dir", "engine_environments", "plugins")
"""Settings whose change needs a restart.

Token, lock and spool belong to the studio and the folder of the start: a half change would send the token of one studio
to another. And engines run as they were described: by the same interpreter, with the same table.
"""


class FollowedConfig(Protocol):
    """Settings that may change while the worker runs."""

    def refresh(self) -> Config:
        """The settings of this moment; cheap."""
        ...


def followed(before: Config, wanted: Config, missing: Callable[[Mapping[str, str]], str | None]) -> Config:
    """The settings from now on: what is wanted, but for what needs a restart and for devices that are not here.

    Args:
        before: the settings until now.
        wanted: what the operator has written.
        missing: says what is wrong with devices, by the settings that name them.
    """
    kept = {name: getattr(before, name) for name in AT_THE_START}
    if changed := [name for name, value in kept.items() if getattr(wanted, name) != value]:
        logger.bind(event="worker.config", settings=", ".join(changed)).warning(
            "Some of the settings that have changed need a restart"
        )
        wanted = wanted.model_copy(update=kept)
    if (problem := missing(wanted.devices)) is not None:
        logger.bind(event="worker.config", reason=problem).warning("The devices in force stay as they were")
        wanted = wanted.model_copy(update={"device": before.device})
    logger.bind(event="worker.config").info("The settings have changed and are in force")
    return wanted
