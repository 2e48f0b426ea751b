"""What file and environment say, put together: the values, where each comes from, and what the operator should know."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from pydantic.fields import FieldInfo

from studio_worker.config.fields import BadSetting
from studio_worker.config.known_keys import LEGACY, nearest, secrets_in
from studio_worker.config.text_values import parse_text, wrap_secrets
from studio_worker.config.toml_file import Signature, TomlFile, read_toml, shown
from studio_worker.errors import ConfigError
from studio_worker.log import logger
from studio_worker.places import CONFIG_VARIABLE, Places, chosen_config_file
from studio_worker.private_file import is_open_to_others

PREFIX = "STUDIO_WORKER_"
FOREIGN_VARIABLES = {"hf_token": "HF_TOKEN"}
"""Settings that a variable of somebody else's serves as well, where ours is not set."""

Origin = Literal["default", "file", "environment"]


@dataclass(frozen=True, slots=True)
class Notice:
    """Something the operator should know that does not stop the worker. `sentence` is constant, `fields` are data."""

    event: str
    sentence: str
    fields: Mapping[str, str] = field(default_factory=dict)
    is_warning: bool = True

    def log(self) -> None:
        """Write it to the log."""
        logger.bind(event=self.event, **self.fields).log("WARNING" if self.is_warning else "INFO", self.sentence)


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings before they are checked as a whole.

    Attributes:
        path: the config file, which need not exist.
        places: the user's files and folders.
        values: by key; absent keys have their default.
        origins: where each of the values comes from.
        notices: what the operator should know.
        signature: tells this version of the file from another; None where there is none.
    """

    path: Path
    places: Places
    values: dict[str, Any]
    origins: dict[str, Origin]
    notices: tuple[Notice, ...]
    signature: Signature | None
    file: TomlFile

    @contextmanager
    def blaming(self) -> Iterator[None]:
        """Turn a bad setting into a sentence that names its variable, or its file and line."""
        try:
            yield
        except BadSetting as error:
            key = error.key.partition(".")[0]
            if self.origins.get(key) == "environment":
                names = " or ".join(name for name in (variable(key), FOREIGN_VARIABLES.get(key)) if name)
                raise ConfigError(f"{names} {error.problem}") from None
            line = self.file.line_of(key)
            place = shown(self.path) if line is None else f"{shown(self.path)}, line {line}"
            raise ConfigError(f"{place}: {error}") from None


def variable(key: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + key.upper()


def gather(fields: Mapping[str, FieldInfo], path: Path | None, environ: Mapping[str, str] | None) -> Loaded:
    """Read the config file and the environment.

    Args:
        fields: the settings by key.
        path: the file, see `chosen_config_file`.
        environ: the environment, the process's own by default. An empty variable counts as not set.

    Raises:
        ConfigError: the file cannot be read, or a variable holds no value of its setting's type.
    """
    named = path is not None or bool((os.environ if environ is None else environ).get(CONFIG_VARIABLE))
    loaded = overlay(fields, read_toml(chosen_config_file(path, environ)), environ)
    if loaded.signature is None:
        loaded = replace(loaded, notices=(_missing(loaded.path, is_named=named), *loaded.notices))
    return loaded


def _missing(path: Path, *, is_named: bool) -> Notice:
    """Nobody's own file has to be there; one that was named and is not there is probably a slip of the pen."""
    return Notice(
        "config.missing",
        "The config file that was named is not there; the defaults hold, the production studio among them."
        if is_named
        else "There is no config file; the defaults hold and none is written until a setting is set.",
        {"file": str(path)},
        is_warning=is_named,
    )


def overlay(fields: Mapping[str, FieldInfo], file: TomlFile, environ: Mapping[str, str] | None) -> Loaded:
    """The environment over a file that was read; raises as `gather` does."""
    places = Places.of(environ)
    environ = os.environ if environ is None else environ
    values = {key: value for key, value in file.table.items() if key in fields}
    origins: dict[str, Origin] = dict.fromkeys(values, "file")
    for key, setting in fields.items():
        name = variable(key)
        if not environ.get(name, "").strip():
            name = FOREIGN_VARIABLES.get(key, name)
        text = environ.get(name, "")
        if not text.strip():
            continue
        try:
            values[key] = parse_text(key, setting, text)
        except BadSetting as error:
            raise ConfigError(f"{name} {error.problem}") from None
        origins[key] = "environment"
    return Loaded(
        path=file.path,
        places=places,
        values=wrap_secrets(fields, values),
        origins=origins,
        notices=tuple(_notices(fields, file, environ, values)),
        signature=file.signature,
        file=file,
    )


def _notices(
    fields: Mapping[str, FieldInfo], file: TomlFile, environ: Mapping[str, str], values: Mapping[str, Any]
) -> Iterator[Notice]:
    for key in file.table:
        if key in fields or key in LEGACY:
            continue
        near = nearest(key, fields)
        found = {"key": key, "file": str(file.path)}
        if near is None:
            yield Notice("config.unknown_key", "The config file has a key that nobody reads.", found)
        else:
            yield Notice(
                "config.unknown_key",
                "The config file has a key that nobody reads; another one was probably meant.",
                found | {"meant": near},
            )
    if file.signature is not None and is_open_to_others(file.path) and any(secrets_in(file.table)):
        yield Notice(
            "config.readable",
            "The config file holds secrets and others on this machine can read it; make it private (chmod 600).",
            {"file": str(file.path)},
        )
    for name in environ:
        key = name.removeprefix(PREFIX).lower()
        if name.startswith(PREFIX) and key not in fields and (near := nearest(key, fields, cutoff=0.85)):
            yield Notice(
                "config.unknown_variable",
                "The environment has a variable that nobody reads; another one was probably meant.",
                {"variable": name, "meant": variable(near)},
            )
    if values.get("auto_update_feed"):
        yield Notice(
            "config.update_feed_ignored",
            "auto_update_feed is ignored: updates come as Python packages.",
            {"file": str(file.path)},
            is_warning=False,
        )
