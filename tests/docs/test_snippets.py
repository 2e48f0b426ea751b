"""The pages' code runs: Python blocks one page at a time in order, data blocks parse."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib

from studio_worker.cli.jobs_file import job_lines


def test_the_python_of_a_page_runs(page, tmp_path):
    blocks = page.blocks("python")
    if not blocks:
        return
    script = tmp_path / "page.py"
    script.write_text("\n".join(blocks), encoding="utf-8")
    homes = {name: str(tmp_path / name) for name in ("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME")}
    done = subprocess.run(
        [sys.executable, script], cwd=tmp_path, env=os.environ | homes, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr


def test_the_data_of_a_page_is_sound(page):
    for block in page.blocks("toml"):
        tomllib.loads(block)
    for block in page.blocks("json"):
        rest = block.strip()
        while rest:
            _, end = json.JSONDecoder().raw_decode(rest)
            rest = rest[end:].lstrip()


def test_the_tutorials_job_is_a_job(tutorial, tmp_path):
    [line] = tutorial.blocks("json")
    jobs = tmp_path / "jobs.jsonl"
    jobs.write_text(line)
    with jobs.open("rb") as file:
        [(number, job)] = job_lines(file, "jobs.jsonl")
    assert (number, job["id"]) == (1, "lighthouse")
