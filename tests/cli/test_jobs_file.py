from __future__ import annotations

import io
import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spoiled import damaged, spoiled

from studio_worker.cli.jobs_file import MAX_LINE_BYTES, BadJobsFile, bad_line, ignored_fields, job_lines

JOB: dict[str, Any] = {
    "model": "synthetic-image",
    "task": {"kind": "image", "prompt": "a fox"},
    "modelSource": {"engine": "synthetic", "files": []},
}
GOOD = json.dumps(JOB)
EXAMPLES = Path(__file__).parents[2] / "docs" / "examples" / "jobs.jsonl"


def read(*lines: str | bytes) -> list[tuple[int, dict[str, Any]]]:
    raw = b"\n".join(line if isinstance(line, bytes) else line.encode() for line in lines)
    return list(job_lines(io.BytesIO(raw), "jobs.jsonl"))


def refusal(*lines: str | bytes) -> str:
    with pytest.raises(BadJobsFile) as caught:
        read(*lines)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_jobs_come_with_their_line_numbers_and_blank_lines_count() -> None:
    assert read(GOOD, "", "  ", GOOD) == [(1, JOB), (4, JOB)]


def test_the_last_line_needs_no_line_end_and_windows_ones_are_fine() -> None:
    assert len(read(GOOD + "\r", GOOD)) == 2


def test_the_examples_are_jobs() -> None:
    with EXAMPLES.open("rb") as file:
        assert len(list(job_lines(file, "examples"))) >= 5


def test_a_job_may_leave_its_source_to_the_studios_registry() -> None:
    assert read(json.dumps({"model": "m", "task": JOB["task"]}))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "not JSON"),
        ("[]", "is no JSON object"),
        ("null", "is no JSON object"),
        (b"\xff\xfe", "invalid UTF-8"),
        ("[" * 100_000, "nested too deeply"),
        ('{"model": "a", "model": "b"}', "a repeated key"),
        (json.dumps(JOB | {"model": ""}), "model: is required"),
        (json.dumps(JOB | {"model": 5}), "model: is required"),
        (json.dumps(JOB | {"task": None}), "task: is required"),
        (json.dumps(JOB | {"task": {"kind": "exec"}}), "task.kind"),
        (json.dumps(JOB | {"task": {"kind": "image", "prompt": "x", "width": 0}}), "task.width"),
        (json.dumps(JOB | {"modelSource": {"engine": "../x", "files": []}}), "modelSource.engine"),
    ],
)
def test_a_bad_line_is_named_by_its_number_and_field(line: str | bytes, said: str) -> None:
    found = refusal(*[GOOD] * 6, line, GOOD)
    assert found.startswith("jobs.jsonl, line 7: ")
    assert said in found


@pytest.mark.parametrize("lines", [[""], ["", "  ", "\t"]])
def test_a_file_without_a_job_is_refused(lines: list[str]) -> None:
    assert refusal(*lines) == "jobs.jsonl holds no job: write one JSON object a line"


def test_a_line_over_the_limit_is_refused() -> None:
    assert f"line 2: has more than {MAX_LINE_BYTES:,} bytes" in refusal(GOOD, "x" * (MAX_LINE_BYTES + 1))


def test_text_of_the_file_cannot_forge_a_message() -> None:
    assert "\x1b" not in refusal(json.dumps(JOB | {"task": {"kind": "\x1b[2J\n"}}))
    assert "\n" not in str(bad_line("a\nb", 1, "c\nd"))


class Endless(io.RawIOBase):
    """A file of good lines that never ends."""

    def __init__(self) -> None:
        self.line = (GOOD + "\n").encode()

    def readline(self, size: int | None = -1, /) -> bytes:
        return self.line


def test_a_huge_file_is_read_in_bounded_memory() -> None:
    lines: Iterator[Any] = job_lines(Endless(), "huge")  # type: ignore[arg-type]  # only readline is used
    next(lines)
    tracemalloc.start()
    for _ in range(5_000):
        next(lines)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


def test_a_job_whose_every_field_is_read_is_told_nothing() -> None:
    assert ignored_fields(JOB | {"id": "a", "vramGbEstimate": 1}) == []
    assert ignored_fields({"model": "m", "task": JOB["task"]}) == []


def test_what_nobody_will_read_is_named_with_the_nearest_field() -> None:
    job = JOB | {"ID": "a", "task": JOB["task"] | {"stpes": 4}, "modelSource": JOB["modelSource"] | {"sorce\n": 1}}
    said = ignored_fields(job)
    assert said[0] == "ID means nothing here and is ignored; did you mean id?"
    assert said[1] == "task.stpes means nothing here and is ignored; did you mean steps?"
    assert said[2].startswith("modelSource.sorce\\n means nothing here")
    assert len(said) == 3


@settings(print_blob=True)
@given(st.lists(spoiled(JOB).map(json.dumps) | damaged(GOOD.encode()), min_size=1, max_size=3))
def test_spoiled_lines_are_jobs_or_refused_by_their_number(lines: list[str | bytes]) -> None:
    try:
        jobs = read(*lines)
        # A field that nobody reads is told of any job, whatever it is called.
        assert all("means nothing here" in said for _, job in jobs for said in ignored_fields(job))
    except BadJobsFile as error:
        refusal = str(error)
    else:
        assert all(isinstance(job["model"], str) and job["task"] for _, job in jobs)
        return
    assert refusal.startswith("jobs.jsonl")
    assert refusal.isprintable()
