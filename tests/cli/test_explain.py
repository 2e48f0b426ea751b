"""`studio-worker explain`, run as users run it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from studio_worker.testing.claims import image_claim, stt_claim

Call = Callable[..., Any]


@pytest.fixture
def claim(home: Path) -> Callable[..., Path]:
    def write(value: Any) -> Path:
        path = home / "claim.json"
        path.write_text(json.dumps(value))
        return path

    return write


def files(*names: str) -> list[dict[str, str]]:
    return [{"role": "weights", "filename": name, "url": f"https://models.example/{name}?token=x"} for name in names]


@pytest.mark.parametrize("wrap", [lambda c: c, lambda c: {"type": "offer", "claim": c}], ids=["claim", "offer"])
def test_a_job_that_runs_says_by_which_engine_and_why(claim: Any, cli: Call, wrap: Any) -> None:
    done = cli("explain", "--claim", str(claim(wrap(image_claim("cup")))), "--json")
    found = json.loads(done.out)
    assert (done.status, found["jobId"], found["verdict"], found["engine"]) == (0, "cup", "runs", "synthetic")
    chosen = [engine for engine in found["engines"] if engine["chosen"]]
    assert [engine["why"] for engine in chosen] == ["serves source 'synthetic' for image"]


def test_a_line_of_a_jobs_file_will_do_as_it_is(cli: Call) -> None:
    line = (Path(__file__).parents[2] / "docs/examples/jobs.jsonl").read_text().splitlines()[0]
    path = Path.home() / "line.json"
    path.write_text(line)
    done = cli("explain", "--claim", str(path))
    assert done.status == 0
    assert "verdict: runs" in done.out
    assert "ENGINE" in done.out


def test_a_job_that_nobody_serves_is_refused_with_the_remedy(claim: Any, cli: Call) -> None:
    done = cli("explain", "--claim", str(claim(image_claim("cup", claim_fields={"engine": "sd-ccp"}))), "--json")
    found = json.loads(done.out)
    assert (done.status, found["verdict"], found["retryable"]) == (1, "refused", False)
    assert "no engine for source 'sd-ccp'" in found["reason"]


def test_files_are_here_or_come_from_their_server_and_nothing_is_fetched(claim: Any, cli: Call, home: Path) -> None:
    (home / "models").mkdir()
    (home / "models" / "a.bin").write_bytes(b"a" * 100)
    raw = image_claim("cup")
    raw["modelSource"]["files"] = files("a.bin", "b.bin")
    done = cli("explain", "--claim", str(claim(raw)), "--json")
    found = json.loads(done.out)
    assert [(file["filename"], file["state"]) for file in found["files"]] == [("a.bin", "here"), ("b.bin", "download")]
    assert found["files"][0]["from"] == str(home / "models" / "a.bin")
    assert found["files"][1]["from"] == "https://models.example/b.bin"
    assert done.status == 0
    assert not (home / "models" / "b.bin").exists()


def test_a_file_that_may_not_be_fetched_refuses_the_job(claim: Any, cli: Call) -> None:
    raw = image_claim("cup")
    raw["modelSource"]["files"] = [{**files("a.bin")[0], "url": "https://10.0.0.1/a.bin"}]
    done = cli("explain", "--claim", str(claim(raw)), "--json")
    found = json.loads(done.out)
    assert (done.status, found["verdict"], found["files"][0]["state"]) == (1, "refused", "refused")
    assert "private address" in found["reason"]


def test_what_has_to_be_fetched_for_the_input_is_named(claim: Any, cli: Call) -> None:
    done = cli("explain", "--claim", str(claim(stt_claim("talk"))), "--json")
    assert json.loads(done.out)["inputs"] == [{"field": "task.inputUrl", "role": "audio"}]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not JSON"),
        ("[]", "holds no claim"),
        ('{"jobId": 3, "task": {}}', "jobId must be text"),
        (None, "cannot be read: No such file"),
    ],
)
def test_what_is_no_claim_is_refused_by_name(home: Path, cli: Call, text: str | None, said: str) -> None:
    path = home / "claim.json"
    if text is not None:
        path.write_text(text)
    done = cli("explain", "--claim", str(path))
    assert done.status == 2
    assert said in done.err
    assert "claim.json" in done.err
