from __future__ import annotations

from decimal import Decimal

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio_worker.cli.parameters import gigabytes, if_given, port, seconds

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


@pytest.mark.parametrize(("text", "number"), [("0", 0.0), ("0.5", 0.5), ("200", 200.0)])
def test_every_number_of_gigabytes_is_taken(text: str, number: float) -> None:
    assert gigabytes(0)(CONTEXT, OPTION, text) == number


def test_what_is_no_number_of_gigabytes_is_a_usage_error() -> None:
    with pytest.raises(click.BadParameter, match="must be a number of GB, at least 1"):
        gigabytes(1)(CONTEXT, OPTION, "0.5")


def test_an_option_that_is_absent_has_no_value_and_one_that_is_given_is_checked() -> None:
    assert if_given(port)(CONTEXT, OPTION, None) is None
    assert if_given(port)(CONTEXT, OPTION, "80") == 80
    with pytest.raises(click.BadParameter):
        if_given(port)(CONTEXT, OPTION, "x")
