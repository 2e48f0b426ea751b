"""What the options before a command say, and what every command makes of them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from studio_worker.places import chosen_config_file, discovery_file

if TYPE_CHECKING:
    from studio_worker.config import ConfigSource

LEVELS = ("trace", "debug", "info", "warning", "error", "critical")


@dataclass(frozen=True, slots=True)
class Invocation:
    """The global options of one call.

    Attributes:
        config_path: the config file that `--config` names.
        log_level: what `--log-level` says; each command has its own default.
        log_json: one JSON object a log line.
    """

    config_path: Path | None = None
    log_level: str | None = None
    log_json: bool = False

    @property
    def shows_tracebacks(self) -> bool:
        """Whether an unexpected error is shown in full."""
        return self.log_level in ("trace", "debug")

    @property
    def config_file(self) -> Path:
        """The config file in force; it need not exist."""
        return chosen_config_file(self.config_path, os.environ)

    @property
    def discovery_file(self) -> Path:
        """Where a running worker published its local API."""
        return discovery_file(self.config_file)

    def set_up_log(self, default: str) -> None:
        """Send the log to stderr at the level asked for, else at `default`."""
        from studio_worker.log import set_up

        set_up(self.log_level or default, as_json=self.log_json)

    def settings(self, *, log_level: str = "warning") -> ConfigSource:
        """The settings, the log set up first so that their warnings are seen.

        Raises:
            ConfigError: file or environment cannot be used.
        """
        from studio_worker.config import ConfigSource
        from studio_worker.log import hide

        self.set_up_log(log_level)
        source = ConfigSource(self.config_path, os.environ)
        hide(lambda: source.current.secrets)
        return source


pass_invocation = click.make_pass_decorator(Invocation, ensure=True)
"""Hands a command the `Invocation` of its call."""
