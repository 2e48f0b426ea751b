"""A config that follows its file: re-read when the file changes, and written without losing the operator's comments."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import Any

from pydantic import SecretStr

from studio_worker.config.edit import Edit, write_edit
from studio_worker.config.fields import BadSetting
from studio_worker.config.known_keys import nearest
from studio_worker.config.loading import Loaded, Notice, Origin, gather, overlay
from studio_worker.config.model import Config, setting_fields
from studio_worker.config.text_values import parse_text
from studio_worker.config.toml_file import read_toml, signature_of
from studio_worker.errors import ConfigError
from studio_worker.log import logger
from studio_worker.places import chosen_config_file


class ConfigSource:
    """The settings of one config file and one environment, kept current.

    Args:
        path: the config file, see `Config.load`.
        environ: the environment, the process's own by default.

    Raises:
        ConfigError: file or environment cannot be used.
    """

    def __init__(self, path: Path | None = None, environ: Mapping[str, str] | None = None) -> None:
        self._environ = os.environ if environ is None else environ
        self.path = chosen_config_file(path, self._environ)
        self._lock = Lock()
        self._told: tuple[Notice, ...] = ()
        self._loaded = gather(setting_fields(), path, self._environ)
        self._seen = self._loaded.signature
        self.current = Config.from_loaded(self._loaded)
        """The settings in force; a new object after each change."""
        self._take(self._loaded)

    @property
    def origins(self) -> Mapping[str, Origin]:
        """Where each setting comes from, by key."""
        return {key: self._loaded.origins.get(key, "default") for key in setting_fields()}

    @property
    def keys(self) -> tuple[str, ...]:
        """The settings that there are."""
        return tuple(setting_fields())

    def refresh(self) -> Config:
        """The settings in force, the file read again if it has changed.

        One `stat` where it has not. A file that is broken, or gone, leaves the last good settings in force and
        warns once for each such version. Blocks for the disk; safe to call from any thread.
        """
        with self._lock:
            found = signature_of(self.path)
            if found == self._seen:
                return self.current
            self._seen = found
            try:
                if found is None:
                    raise ConfigError(f"{self.path} is gone")
                loaded = gather(setting_fields(), self.path, self._environ)
                self.current = Config.from_loaded(loaded)
            except ConfigError as error:
                logger.bind(event="config.edit_ignored", error=str(error)).warning(
                    "The changed config file cannot be used; the settings from before stay in force."
                )
                return self.current
            self._take(loaded)
            logger.bind(event="config.changed", file=str(self.path)).info("The changed config file is in force.")
            return self.current

    def get(self, key: str) -> Any:
        """A setting's value in force; ``plugins.<name>`` and deeper keys reach into tables.

        Raises:
            BadSetting: there is no such setting.
        """
        head, *rest = key.split(".")
        self._known(head, key)
        value = getattr(self.current, head)
        for part in rest:
            if not isinstance(value, Mapping) or part not in value:
                raise BadSetting(key, "is not set")
            value = value[part]
        return value

    def set(self, key: str, text_value: str) -> Config:
        """Write one setting into the file, comments kept, the file replaced whole; a new one is made at mode 0600.

        Args:
            key: a setting, or in the tables ``plugins.<name>.<key>``, ``engine_preferences.<source id>`` or
                ``engine_environments.<name>``.
            text_value: the value as an environment variable would carry it; empty: the key is removed.

        Raises:
            BadSetting: there is no such setting, or the value is not allowed; nothing is written.
            ConfigError: the file is broken, or cannot be written.
        """
        with self._lock:
            edit = self._edit(key, text_value)
            file = read_toml(self.path)
            changed = edit.applied(file)
            self._check(edit, overlay(setting_fields(), changed, {}))
            write_edit(changed)
            loaded = gather(setting_fields(), self.path, self._environ)
            self.current = Config.from_loaded(loaded)
            self._take(loaded)
            return self.current

    def _edit(self, key: str, text: str) -> Edit:
        head, *rest = key.split(".")
        fields = setting_fields()
        self._known(head, key)
        if not text:
            return Edit((head, *rest), None)
        if rest:
            return Edit.inside_table(key, text)
        value = parse_text(head, fields[head], text)
        return Edit((head,), value.get_secret_value() if isinstance(value, SecretStr) else value)

    def _known(self, head: str, key: str) -> None:
        if head not in setting_fields():
            near = nearest(head, setting_fields())
            raise BadSetting(key, "is no setting" + (f"; {near} is one" if near else ""))

    def _check(self, edit: Edit, loaded: Loaded) -> None:
        with loaded.blaming():
            try:
                Config(**loaded.values)
            except BadSetting as error:
                if error.key.partition(".")[0] != edit.path[0]:
                    raise
                problem = error.problem
            else:
                return
        raise BadSetting(edit.path[0], problem)

    def _take(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self._seen = loaded.signature
        for notice in loaded.notices:
            if notice not in self._told:
                notice.log()
        self._told = loaded.notices
