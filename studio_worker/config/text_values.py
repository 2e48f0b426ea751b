"""A setting's value out of text: what an environment variable or `config set` carries. ASCII digits only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from studio_worker.config.fields import BadSetting, allowed
from studio_worker.wire.strict_json import NotJson, loads

_INTEGER = re.compile(r"[+-]?[0-9]{1,20}", re.ASCII)
_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,400}(?:\.[0-9]{0,400})?|\.[0-9]{1,400})(?:[eE][+-]?[0-9]{1,4})?", re.ASCII)
_FLAGS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}

MAX_CHARS = 1_048_576
"""The longest text that is looked at."""


def parse_text(key: str, field: FieldInfo, text: str) -> Any:
    """The value that `text` stands for, by the setting's type; its range is the model's business.

    Flags are true, false, 1, 0, yes, no, on, off; lists are comma-separated or a JSON list; tables are JSON objects.

    Raises:
        BadSetting: the text is no value of that type.
    """
    text = text.strip() if _type(field) is not str else text
    value = _value(_type(field), text) if len(text) <= MAX_CHARS else None
    if value is None:
        hint = {bool: ", also 1, 0, yes, no, on, off", tuple: ", comma-separated or as JSON", dict: " as JSON"}
        digits = " in ASCII digits" if _type(field) in (int, float) else ""
        raise BadSetting(key, f"must be {allowed(field)}{digits}{hint.get(_type(field), '')}")
    return value


def parse_number(text: str) -> float | None:
    """The finite number that `text` writes in ASCII digits, or None."""
    if not _NUMBER.fullmatch(text):
        return None
    number = float(text)
    return number if abs(number) != float("inf") else None


def _type(field: FieldInfo) -> type:
    annotation: Any = field.annotation
    options = [option for option in get_args(annotation) if option is not NoneType]
    if NoneType in get_args(annotation) and len(options) == 1:
        annotation = options[0]
    origin: type = get_origin(annotation) or annotation
    return str if origin in (SecretStr, Path) else origin


def _value(kind: type, text: str) -> Any:
    if kind is bool:
        return _FLAGS.get(text.lower())
    if kind is int:
        return int(text) if _INTEGER.fullmatch(text) else None
    if kind is float:
        return parse_number(text)
    if kind is tuple:
        if not text.startswith("["):
            return [item.strip() for item in text.split(",") if item.strip()]
        return _json(text, list)
    if kind is dict:
        return _json(text, dict)
    return text


def _json(text: str, kind: type) -> Any:
    try:
        value = loads(text)
    except NotJson:
        return None
    return value if isinstance(value, kind) else None


def wrap_secrets(fields: Mapping[str, FieldInfo], values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` with the text of secret settings hidden in `SecretStr`, so that no message can show it."""
    return {
        key: SecretStr(value) if isinstance(value, str) and _is_secret(fields[key]) else value
        for key, value in values.items()
    }


def _is_secret(field: FieldInfo) -> bool:
    return SecretStr in (field.annotation, *get_args(field.annotation))
