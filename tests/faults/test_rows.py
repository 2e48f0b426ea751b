"""The catalogue is whole: each row has tests that exist, or says why it has none."""

from __future__ import annotations

import ast
from functools import cache
from itertools import chain
from pathlib import Path

import pytest

from .rows import ROWS, Partly
from .rows import TABLE as CLAIM_TABLE
from .test_bad_claims import TABLE

ROOT = Path(__file__).parents[2]
FAULTS = chain(
    range(1, 17), range(20, 43), range(50, 58), range(60, 72), range(80, 93), range(100, 109), range(110, 119),
    range(120, 129),
)  # fmt: skip
BAD_INPUT = chain(
    range(1, 11), range(20, 29), range(40, 55), range(60, 72), range(80, 89), range(90, 98), range(100, 110),
    range(120, 128),
)  # fmt: skip
WANTED = [f"F-{number:02}" for number in FAULTS] + [f"B-{number:03}" for number in BAD_INPUT]


@cache
def names_in(path: Path) -> frozenset[str]:
    """The names of a file's tests."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, kinds))


def test_no_row_of_the_catalogues_is_forgotten() -> None:
    assert set(WANTED) == set(ROWS)


@pytest.mark.parametrize("row", WANTED)
def test_a_row_has_tests_that_exist_or_a_reason(row: str) -> None:
    entry = ROWS[row]
    if isinstance(entry, Partly):
        assert len(entry.lacks.split()) > 2
        entry = entry.tests
    assert entry
    for place in entry:
        path, _, name = place.partition("::")
        file = ROOT / path if path.startswith("plugins/") else ROOT / "tests" / path
        assert file.is_file(), place
        assert name in names_in(file), place


def test_the_table_of_bad_claims_has_every_row_that_points_to_it() -> None:
    assert {row for row, entry in ROWS.items() if isinstance(entry, tuple) and CLAIM_TABLE in entry} == set(TABLE)
