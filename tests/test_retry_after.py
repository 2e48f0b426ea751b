from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio_worker.retry_after import retry_after

NOW = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "secs"),
    [
        ("7", 7.0),
        (" 7 ", 7.0),
        ("300", 300.0),
        ("301", 300.0),
        ("9" * 20, 300.0),
        ("Mon, 05 Jan 2026 08:00:30 GMT", 30.0),
        ("Mon, 05 Jan 2026 08:00:30 -0000", 30.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 300.0),
    ],
)
def test_seconds_and_dates_are_read_up_to_the_cap(header: str, secs: float) -> None:
    assert retry_after(header, NOW, cap_secs=300) == secs


@pytest.mark.parametrize(
    "header",
    [
        *(None, "", "0", "-5", "1.5", "1e3", "٧", "soon", "nan", "9" * 21),
        *("Mon, 05 Jan 2026 07:59:59 GMT", "Mon, 99 Jan 2026 08:00:00 GMT", "Mon, 05 Jan 99999 08:00:00 GMT"),
    ],
)
def test_what_says_nothing_usable_says_nothing(header: str | None) -> None:
    assert retry_after(header, NOW, cap_secs=300) is None


@given(st.text(max_size=40))
def test_no_header_breaks_the_reading(header: str) -> None:
    wait = retry_after(header, NOW, cap_secs=300)
    assert wait is None or 0 < wait <= 300


DATES = ("Mon,", "05", "Jan", "2026", "08:00:30", "GMT", "-0000", "+9999", "31-Dec-99", "24:00:60", "99999", "0000")
OTHERS = (":", "::", "1:2:3:4", "+", "EST", "(c)", "1e9", "٧", "\0", "08.00.30", "+99999999999999", "-", "9" * 30)
TOKENS = st.sampled_from([*DATES, *OTHERS])


@given(st.lists(TOKENS, max_size=8), st.sampled_from([" ", ",", "-", "  "]))
def test_nothing_that_looks_like_a_date_breaks_the_reading(tokens: list[str], between: str) -> None:
    wait = retry_after(between.join(tokens), NOW, cap_secs=300)
    assert wait is None or 0 < wait <= 300
