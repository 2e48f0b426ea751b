"""Option values that take ASCII digits only and say what is allowed."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

import click

_INTEGER = re.compile(r"[0-9]{1,20}", re.ASCII)
_SECONDS = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?", re.ASCII)

T = TypeVar("T")


def whole_number(low: int, high: int) -> Callable[[click.Context, click.Parameter, str], int]:
    """A click callback: a whole number from `low` to `high`.

    Click's own integers are Python's, which take other scripts' digits and underscores too.
    """

    def convert(_context: click.Context, _parameter: click.Parameter, text: str) -> int:
        if not _INTEGER.fullmatch(text) or not low <= int(text) <= high:
            raise click.BadParameter(f"must be a whole number from {low} to {high}")
        return int(text)

    return convert


def seconds(low: float) -> Callable[[click.Context, click.Parameter, str], float]:
    """A click callback: a finite number of seconds, `low` or more."""
    return _decimal(low, "seconds")


def gigabytes(low: float) -> Callable[[click.Context, click.Parameter, str], float]:
    """A click callback: a finite number of GB, `low` or more."""
    return _decimal(low, "GB")


def if_given(
    convert: Callable[[click.Context, click.Parameter, str], T],
) -> Callable[[click.Context, click.Parameter, str | None], T | None]:
    """The same callback for an option without a default: None where it is absent."""

    def converted(context: click.Context, parameter: click.Parameter, text: str | None) -> T | None:
        return None if text is None else convert(context, parameter, text)

    return converted


def _decimal(low: float, unit: str) -> Callable[[click.Context, click.Parameter, str], float]:
    def convert(_context: click.Context, _parameter: click.Parameter, text: str) -> float:
        if not _SECONDS.fullmatch(text) or float(text) < low:
            raise click.BadParameter(f"must be a number of {unit}, at least {low:g}")
        return float(text)

    return convert


port = whole_number(0, 65_535)
"""For a TCP port; 0: any free one."""
