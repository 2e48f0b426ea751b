"""Option types that take ASCII digits only and say what is allowed."""

from __future__ import annotations

import re
from typing import Any

import click

_INTEGER = re.compile(r"[0-9]{1,9}", re.ASCII)


class WholeNumber(click.ParamType):
    """A whole number from `low` to `high`. Python's `int` takes other scripts' digits and underscores too."""

    name = "integer"

    def __init__(self, low: int, high: int) -> None:
        self._low = low
        self._high = high

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number; a usage error otherwise."""
        if isinstance(value, str) and _INTEGER.fullmatch(value):
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or not self._low <= value <= self._high:
            self.fail(f"must be a whole number from {self._low} to {self._high}", param, ctx)
        return value


PORT = WholeNumber(0, 65_535)
"""A TCP port; 0: any free one."""
