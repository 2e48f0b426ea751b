"""The types of settings: each carries its range and the words that say what is allowed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeAlias
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo

from studio_worker.errors import ConfigError
from studio_worker.wire.base import FreeObject
from studio_worker.wire.urls import StudioUrls


@dataclass(frozen=True, slots=True)
class Allowed:
    """What a setting may hold, in words that follow "must be"."""

    words: str


class BadSetting(ConfigError):
    """One setting cannot be used.

    Args:
        key: the setting.
        problem: what is wrong and what is allowed; it never repeats text that was given.
    """

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"{key} {problem}")
        self.key = key
        self.problem = problem


def allowed(field: FieldInfo) -> str:
    """What a setting may hold, in words."""
    return next((item.words for item in field.metadata if isinstance(item, Allowed)), "another value")


def bad_setting(error: ValidationError, fields: dict[str, FieldInfo]) -> BadSetting:
    """The first problem of a validation error. Numbers that were given are shown; text is not, it may be secret."""
    first = error.errors(include_url=False)[0]
    key = str(first["loc"][0]) if first["loc"] else "the settings"
    given, kind = first.get("input"), first["type"]
    field = fields.get(key)
    if field is None:
        return BadSetting(key, "is no setting")
    if kind == "value_error":
        return BadSetting(".".join(str(part) for part in first["loc"]), first["msg"].removeprefix("Value error, "))
    shown = str(given).lower() if isinstance(given, bool) else str(given)
    if not isinstance(given, (bool, int, float)):
        shown = {str: "text", dict: "a table", list: "a list", type(None): "nothing"}.get(type(given), "another type")
    elif len(shown) > 40:
        shown = "a number of many digits"
    return BadSetting(key, f"must be {allowed(field)} (got {shown})")


def _studio_url(text: str) -> str:
    try:
        StudioUrls.parse(text)
    except ValueError as error:
        raise ValueError(f"{error}; a studio's address reads https://studio.example/") from None
    return text


def _path(value: Any) -> Any:
    return Path(value) if isinstance(value, str) and value else value


def _usable_path(path: Path) -> Path:
    if "\0" in str(path):
        raise ValueError("holds a NUL character, which no path can have")
    return path


def _printable(text: str) -> str:
    if not text.isprintable() or not text.strip():
        raise ValueError("must be text without line breaks or control characters")
    return text


def _mirror(text: str) -> str:
    try:
        parts = urlsplit(text)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_address = False
    if not is_address or "@" in text or "?" in text or "#" in text or not (text.isascii() and text.isprintable()):
        raise ValueError("must be an http(s) address without user name, query and fragment (https://mirror.example/hf)")
    return text


def _header_safe(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value()
    if not (text.isascii() and text.isprintable()) or " " in text or not text:
        raise ValueError("must be printable ASCII without white space")
    return secret


Flag: TypeAlias = Annotated[bool, Allowed("true or false")]
Port: TypeAlias = Annotated[int, Field(ge=0, le=65_535), Allowed("a whole number from 0 to 65535")]
OptionalPort: TypeAlias = Annotated[int | None, Field(ge=0, le=65_535), Allowed("a whole number from 0 to 65535")]
Secs: TypeAlias = Annotated[float, Field(gt=0, le=1e9), Allowed("a number of seconds above 0, up to 1e9")]
Gigabytes: TypeAlias = Annotated[float, Field(ge=0, le=1e6), Allowed("a number of GB from 0 to 1000000")]
OptionalGigabytes: TypeAlias = Annotated[
    float | None, Field(ge=0, le=1e9), Allowed("a number of GB from 0 to 1000000000")
]
Tries: TypeAlias = Annotated[
    int, Field(ge=0, le=1_000_000_000), Allowed("a whole number from 0 (for ever) to 1000000000")
]
Slots: TypeAlias = Annotated[int, Field(ge=1, le=1_024), Allowed("a whole number from 1 to 1024")]
StudioAddress: TypeAlias = Annotated[
    str | None, AfterValidator(lambda text: text if text is None else _studio_url(text)), Allowed("an http(s) URL")
]
Folder: TypeAlias = Annotated[Path, BeforeValidator(_path), AfterValidator(_usable_path), Allowed("a folder's path")]
OptionalFolder: TypeAlias = Annotated[
    Path | None,
    BeforeValidator(_path),
    AfterValidator(lambda path: path if path is None else _usable_path(path)),
    Allowed("a folder's path"),
]
OptionalText: TypeAlias = Annotated[
    str | None,
    Field(max_length=1_024),
    AfterValidator(lambda text: text if text is None else _printable(text)),
    Allowed("text of at most 1024 characters"),
]
OptionalSecret: TypeAlias = Annotated[
    SecretStr | None,
    AfterValidator(lambda secret: secret if secret is None else _header_safe(secret)),
    Allowed("text"),
]
Names: TypeAlias = Annotated[
    tuple[Annotated[str, AfterValidator(_printable)], ...],
    Field(strict=False, max_length=1_000),
    Allowed("a list of names"),
]
Preferences: TypeAlias = Annotated[
    dict[str, str], Field(max_length=1_000), Allowed('a table of names ({ onnx = "lama" })')
]
Environments: TypeAlias = Annotated[
    dict[Annotated[str, AfterValidator(_printable)], Folder],
    Field(max_length=100),
    Allowed('a table of paths, each a virtual environment or an interpreter ({ lama = "~/environments/lama" })'),
]
Mirrors: TypeAlias = Annotated[
    dict[
        str,
        Annotated[
            tuple[Annotated[str, AfterValidator(_mirror)], ...],
            BeforeValidator(lambda value: (value,) if isinstance(value, str) else value),
            Field(strict=False, min_length=1, max_length=16),
        ],
    ],
    Field(max_length=1_000),
    Allowed('a table of addresses, one or a list for each host ({ "huggingface.co" = "https://mirror.example/hf" })'),
]
PluginTables: TypeAlias = Annotated[dict[str, FreeObject], Allowed("tables ([plugins.<name>])")]
