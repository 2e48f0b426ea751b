from __future__ import annotations

from decimal import Decimal

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio_worker.cli.parameters import port, seconds

CONTEXT = click.Context(click.Command("x"))
OPTION = click.Option(["--port"])


@given(st.integers(min_value=0, max_value=65_535))
def test_every_port_is_taken(number: int) -> None:
    assert port(CONTEXT, OPTION, str(number)) == number


@pytest.mark.parametrize("text", ["-1", "65536", "١٢", "1_0", "1e3", "0x10", "", " 1", "9" * 5_000, "80.0"])
def test_what_is_no_port_in_ascii_digits_is_a_usage_error(text: str) -> None:
    with pytest.raises(click.BadParameter, match="must be a whole number from 0 to 65535"):
        port(CONTEXT, OPTION, text)


@given(st.decimals(min_value=1, max_value=10**6, places=3))
def test_every_number_of_seconds_is_taken(number: Decimal) -> None:
    assert seconds(1.0)(CONTEXT, OPTION, f"{number:f}") == float(number)


@pytest.mark.parametrize("text", ["nan", "inf", "-1", "0.5", "1e3", "١٢", "", "1_0", " 2", "2.", ".5"])
def test_what_is_no_number_of_seconds_is_a_usage_error(text: str) -> None:
    with pytest.raises(click.BadParameter, match="must be a number of seconds, at least 1"):
        seconds(1.0)(CONTEXT, OPTION, text)
