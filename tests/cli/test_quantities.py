from __future__ import annotations

import pytest

from studio_worker.cli.quantities import age_text, size_text, speed_text


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1_000, "1 kB"),
        (1_221, "1.22 kB"),
        (999_400, "999 kB"),
        (999_600, "1 MB"),
        (12_345_678, "12.3 MB"),
        (4_070_000_000, "4.07 GB"),
        (512_345_000_000, "512 GB"),
        (2_000_000_000_000, "2 TB"),
        (12_345_000_000_000_000, "12345 TB"),
    ],
)
def test_a_size_has_three_digits_and_its_unit(size: int, text: str) -> None:
    assert size_text(size) == text


def test_a_speed_is_a_size_a_second() -> None:
    assert speed_text(98_123_456.0) == "98.1 MB/s"


@pytest.mark.parametrize(
    ("secs", "text"),
    [
        (-5, "just now"),
        (59, "just now"),
        (60, "1 minute ago"),
        (7_199, "1 hour ago"),
        (7_200, "2 hours ago"),
        (3 * 86_400 + 5, "3 days ago"),
        (800 * 86_400, "2 years ago"),
    ],
)
def test_an_age_is_told_in_its_largest_whole_unit(secs: float, text: str) -> None:
    assert age_text(secs) == text
