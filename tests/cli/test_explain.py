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


def test_a_job_of_a_jobs_file_is_named_by_its_id(cli: Call) -> None:
    path = Path(__file__).parents[2] / "docs/examples/jobs.jsonl"
    done = cli("explain", "--claim", str(path), "--job-id", "answer", "--json")
    found = json.loads(done.out)
    assert (done.status, found["jobId"], found["kind"]) == (0, "answer", "llm")


def test_a_file_of_several_jobs_wants_one_named(cli: Call, home: Path) -> None:
    path = home / "jobs.jsonl"
    path.write_text("\n".join(json.dumps(image_claim(name)) for name in ("cup", "fox")) + "\n\n")
    done = cli("explain", "--claim", str(path))
    assert done.status == 2
    assert "jobs.jsonl holds 2 jobs: name one by --job-id, or give one line" in done.err
    done = cli("explain", "--claim", str(path), "--job-id", "owl")
    assert done.status == 2
    assert "has no job 'owl'" in done.err


def test_the_line_that_is_no_claim_is_named(cli: Call, home: Path) -> None:
    path = home / "jobs.jsonl"
    for line, said in (("{", "jobs.jsonl, line 3, is not JSON"), ("[]", "jobs.jsonl, line 3, holds no claim")):
        path.write_text(f"{json.dumps(image_claim('cup'))}\n\n{line}\n")
        done = cli("explain", "--claim", str(path), "--job-id", "cup")
        assert done.status == 2
        assert said in done.err


def test_a_claim_over_many_lines_is_one(cli: Call, home: Path) -> None:
    path = home / "claim.json"
    path.write_text(json.dumps(image_claim("cup"), indent=2))
    assert cli("explain", "--claim", str(path)).status == 0
    path.write_text(json.dumps(image_claim("cup"), indent=2)[:-1])
    assert "claim.json not JSON" in cli("explain", "--claim", str(path)).err


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


def test_a_refused_file_is_told_as_a_studio_is_told(claim: Any, cli: Call, config_file: Path) -> None:
    config_file.write_text("models_offline = true\n")
    config_file.chmod(0o600)
    raw = image_claim("cup")
    raw["modelSource"]["files"] = files("a.bin")
    found = json.loads(cli("explain", "--claim", str(claim(raw)), "--json").out)
    assert (found["verdict"], found["retryable"]) == ("refused", True)
    assert found["reason"] == found["files"][0]["why"]
    assert found["reason"].startswith("model file a.bin (role weights) is not in ")
    assert "and models_offline = true asks nobody" in found["reason"]


def test_a_file_that_has_no_room_is_told_ahead_of_where_it_comes_from(claim: Any, cli: Call, config_file: Path) -> None:
    config_file.write_text("models_quota_gb = 1\n")
    config_file.chmod(0o600)
    raw = image_claim("cup")
    raw["modelSource"]["files"] = [{**files("a.bin")[0], "url": "https://10.0.0.1/a.bin", "approxBytes": 2 * 10**9}]
    found = json.loads(cli("explain", "--claim", str(claim(raw)), "--json").out)
    assert (found["verdict"], found["retryable"], found["files"][0]["state"]) == ("refused", True, "refused")
    assert found["reason"].startswith("models_quota_gb: ")


def test_a_mirror_is_named_where_it_would_be_asked(claim: Any, cli: Call, config_file: Path) -> None:
    config_file.write_text('model_mirrors = { "models.example" = ["https://mirror.example/m"] }\n')
    config_file.chmod(0o600)
    raw = image_claim("cup")
    raw["modelSource"]["files"] = files("a.bin")
    (found,) = json.loads(cli("explain", "--claim", str(claim(raw)), "--json").out)["files"]
    assert (found["state"], found["from"]) == ("download", "https://mirror.example/m/a.bin")


def test_each_input_is_named_with_where_it_would_come_from(claim: Any, cli: Call) -> None:
    raw = stt_claim("talk", inputUrl="https://files.example/talk.wav?sig=secret")
    done = cli("explain", "--claim", str(claim(raw)), "--json")
    (found,) = json.loads(done.out)["inputs"]
    assert (found["field"], found["role"], found["state"]) == ("task.inputUrl", "audio", "download")
    assert (found["from"], done.status) == ("https://files.example/talk.wav", 0)


def test_an_input_that_may_not_be_fetched_refuses_the_job(claim: Any, cli: Call) -> None:
    raw = image_claim("cup", initImageUrl="http://127.0.0.1:9/x.png")
    done = cli("explain", "--claim", str(claim(raw)), "--json")
    found = json.loads(done.out)
    assert (done.status, found["verdict"], found["retryable"]) == (1, "refused", False)
    assert found["inputs"][0]["state"] == "refused"
    assert found["reason"] == found["inputs"][0]["why"]
    assert found["reason"].startswith("task.initImageUrl leads to 127.0.0.1, a private address")


def test_the_inputs_are_a_table_for_people(claim: Any, cli: Call) -> None:
    done = cli("explain", "--claim", str(claim(stt_claim("talk"))))
    (line,) = [line for line in done.out.splitlines() if line.startswith("task.inputUrl")]
    assert line.split() == ["task.inputUrl", "here", "data:"]


def test_the_port_of_the_workers_own_api_is_closed_where_private_addresses_are_allowed(
    claim: Any, cli: Call, config_file: Path
) -> None:
    config_file.write_text("allow_private_urls = true\nlocal_api_port = 4790\n")
    config_file.chmod(0o600)
    verdicts: dict[int, list[str]] = {}
    for port in (4790, 4791):
        url = f"http://127.0.0.1:{port}/x.png"
        with_file = image_claim("cup")
        with_file["modelSource"]["files"] = [{**files("a.bin")[0], "url": url}]
        for raw in (image_claim("cup", initImageUrl=url), with_file):
            said = json.loads(cli("explain", "--claim", str(claim(raw)), "--json").out)["verdict"]
            verdicts.setdefault(port, []).append(said)
    assert verdicts == {4790: ["refused", "refused"], 4791: ["runs", "runs"]}


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
