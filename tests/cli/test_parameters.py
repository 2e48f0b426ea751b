from __future__ import annotations

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio_worker.cli.parameters import port

CONTEXT = click.Context(click.Command("x"))
OPTION = click.Option(["--port"])


@given(st.integers(min_value=0, max_value=65_535))
def test_every_port_is_taken(number: int) -> None:
    assert port(CONTEXT, OPTION, str(number)) == number


@pytest.mark.parametrize("text", ["-1", "65536", "١٢", "1_0", "1e3", "0x10", "", " 1", "9" * 5_000, "80.0"])
def test_what_is_no_port_in_ascii_digits_is_a_usage_error(text: str) -> None:
    with pytest.raises(click.BadParameter, match="must be a whole number from 0 to 65535"):
        port(CONTEXT, OPTION, text)
