"""Run the tests of the fault catalogue, and write what they show into docs/reliability.md.

``python tools/faults.py`` runs them, then writes the page. With ``--rows`` it runs nothing, writes the rows by the
catalogue and leaves the figures of the last run; with ``--check`` it only says whether the page has every row as it is.
A row counts as survived, or refused, when all of its tests pass; where one fails, the page is left as it is.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from xml.etree import ElementTree as ET

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "reliability.md"
sys.path.insert(0, str(ROOT))

from tests.faults.rows import ROWS, Partly  # noqa: E402 - the checkout is no installed package

CHAPTERS = {
    "F-01": "The network",
    "F-20": "What a studio does",
    "F-50": "Clocks and power",
    "F-60": "Disks",
    "F-80": "Processes and engines",
    "F-100": "Orders of events, and operators",
    "F-110": "Downloads",
    "F-120": "The studio's own side",
    "B-001": "Settings and commands",
    "B-020": "Frames",
    "B-040": "Claims",
    "B-060": "Addresses",
    "B-080": "Files and models",
    "B-090": "Media",
    "B-100": "A studio's routes",
    "B-120": "Plugins and what is printed",
}
"""The first row of each chapter, and its heading."""

HEAD = """\
# What is survived, and what is refused

Each row is a fault that was injected (F) or bad input that was given (B), with the tests that do it; what a test shows
is its name. All of them run in `make test`, on real sockets, files and processes. `make faults` runs them alone and
writes this page.

"""

FIGURES = "## Figures\n"
FIGURES_HEAD = "\nOf the last `make faults`, with what tests recorded (`record_property`).\n\n"


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What a run of the tests brought.

    Attributes:
        failed: names of tests that failed, or did not run.
        ran: how many cases ran; a test may have many.
        figures: what tests recorded, in their order.
    """

    failed: tuple[str, ...]
    ran: int
    figures: tuple[tuple[str, str], ...]


def tests_of(entry: tuple[str, ...] | Partly) -> tuple[str, ...]:
    """The tests of a row, each as ``path::name`` below the checkout."""
    places = entry.tests if isinstance(entry, Partly) else entry
    return tuple(place if place.startswith("plugins/") else f"tests/{place}" for place in places)


@cache
def classes_in(path: Path) -> Mapping[str, str]:
    """The class of each test of a file that has one."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {
        inner.name: node.name
        for node in tree.body
        if isinstance(node, ast.ClassDef)
        for inner in node.body
        if isinstance(inner, (ast.FunctionDef, ast.AsyncFunctionDef))
    }


def node_of(place: str) -> str:
    """A test's ``path::name`` as pytest finds it: with its class, where it has one."""
    path, _, name = place.partition("::")
    group = classes_in(ROOT / path).get(name)
    return place if group is None else f"{path}::{group}::{name}"


def run(places: Iterable[str], arguments: Iterable[str]) -> Outcomes:
    """Run tests, their output on this terminal."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        wanted = sorted(set(places))
        subprocess.run(
            [
                sys.executable,
                "-m",
                "pytest",
                f"--junitxml={report}",
                "-o",
                "junit_family=xunit1",
                *arguments,
                *map(node_of, wanted),
            ],
            cwd=ROOT,
            check=False,
        )
        return read(report.read_text(encoding="utf-8"), wanted)


def read(report: str, wanted: Iterable[str]) -> Outcomes:
    """A report of pytest, as outcomes of the tests that were wanted."""
    bad: set[str] = set()
    seen: set[str] = set()
    figures: list[tuple[str, str]] = []
    cases = list(ET.fromstring(report).iter("testcase"))  # noqa: S314 - written by the run before
    for case in cases:
        name = (case.get("name") or "").partition("[")[0]
        place = f"{case.get('file')}::{name}"
        seen.add(place)
        if any(case.find(kind) is not None for kind in ("failure", "error", "skipped")):
            bad.add(place)
        figures += [(each.get("name") or "", each.get("value") or "") for each in case.iter("property")]
    return Outcomes(tuple(sorted(bad | (set(wanted) - seen))), len(cases), tuple(figures))


def rows_part() -> str:
    """The page without its figures: what every row has, by the catalogue alone."""
    whole = {"F": 0, "B": 0}
    for row, entry in ROWS.items():
        whole[row[0]] += isinstance(entry, tuple)
    count = {letter: sum(row.startswith(letter) for row in ROWS) for letter in whole}
    lines = [
        f"- Faults survived: **{whole['F']} of {count['F']}**.",
        f"- Bad input refused with a clear sentence: **{whole['B']} of {count['B']}**.",
        "- The others are shown in part; their rows say what is missing.",
    ]
    for row, entry in ROWS.items():
        if row in CHAPTERS:
            lines += ["", f"## {CHAPTERS[row]}", "", "| | What the tests show | |", "| --- | --- | --- |"]
        lines.append(f"| {row} | {_shown(entry)} | {_outcome(row, entry)} |")
    return HEAD + "\n".join(lines) + "\n\n"


def figures_part(figures: Iterable[tuple[str, str]]) -> str:
    """The table of what was measured; nothing where nothing was."""
    rows = [f"| {_cell(name)} | {_cell(value)} |" for name, value in figures]
    return FIGURES + FIGURES_HEAD + "\n".join(["| | |", "| --- | --- |", *rows]) + "\n" if rows else ""


def _shown(entry: tuple[str, ...] | Partly) -> str:
    said = "; ".join(_sentence(place) for place in tests_of(entry))
    return f"{said}. **Not shown yet:** {entry.lacks}" if isinstance(entry, Partly) else said


def _sentence(place: str) -> str:
    path, _, name = place.partition("::")
    group = classes_in(ROOT / path).get(name, "")
    subject = re.sub(r"(?<!^)(?=[A-Z])", " ", group.removeprefix("Test")).lower()
    return f"{subject} {name.removeprefix('test_').replace('_', ' ')}".strip()


def _outcome(row: str, entry: tuple[str, ...] | Partly) -> str:
    if isinstance(entry, Partly):
        return "in part"
    return "survived" if row.startswith("F") else "refused"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _places(rows: Mapping[str, tuple[str, ...] | Partly]) -> Iterator[str]:
    for entry in rows.values():
        yield from tests_of(entry)


def main(arguments: list[str]) -> int:
    """Run and write, or do as the switches say; other arguments go to pytest. Returns 1 where something is wrong."""
    before = PAGE.read_text(encoding="utf-8") if PAGE.is_file() else ""
    if "--rows" in arguments:
        _, heading, figures_before = before.partition(FIGURES)
        PAGE.write_text(rows_part() + heading + figures_before, encoding="utf-8")
        return 0
    if "--check" in arguments:
        if before.partition(FIGURES)[0] == rows_part():
            return 0
        sys.stderr.write("out of date: docs/reliability.md; `python tools/faults.py --rows` writes its rows anew\n")
        return 1
    found = run(_places(ROWS), arguments)
    if found.failed:
        sys.stderr.write("docs/reliability.md is left as it is; these did not pass:\n")
        sys.stderr.writelines(f"  {place}\n" for place in found.failed)
        return 1
    figures = (("test cases run", f"{found.ran:,}"), *found.figures)
    PAGE.write_text(rows_part() + figures_part(figures), encoding="utf-8")
    sys.stdout.write(f"{found.ran:,} cases passed; docs/reliability.md is written\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
