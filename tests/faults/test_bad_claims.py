"""Bad input B-040 to B-054: claims that break the contract, one table, against one worker and one session."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import pytest

from studio_worker.testing.claims import stt_claim, tts_claim, video_claim

from .conftest import SOURCE, Site, picture, words

Raw = dict[str, Any]
FILE = {"role": "model", "url": "https://models.example/a.bin", "filename": "a.bin"}


def put(claim: Raw, path: str, value: Any) -> Raw:
    """The claim with one field replaced; `...` takes it away."""
    *parents, last = path.split(".")
    inner: Any = claim
    for parent in parents:
        inner = inner[int(parent) if isinstance(inner, list) else parent]
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    return claim


def image(path: str, value: Any) -> Raw:
    return put(picture("job"), path, value)


def llm(path: str, value: Any) -> Raw:
    return put(words("job"), path, value)


def stt(path: str, value: Any) -> Raw:
    return put(stt_claim("job", claim_fields={"engine": SOURCE}), path, value)


def tts(path: str, value: Any) -> Raw:
    return put(tts_claim("job", claim_fields={"engine": SOURCE}), path, value)


def video(path: str, value: Any) -> Raw:
    return put(video_claim("job", claim_fields={"engine": SOURCE}), path, value)


def files(*entries: Mapping[str, Any]) -> Raw:
    return image("modelSource.files", [FILE | entry for entry in entries])


def nested(depth: int) -> Any:
    value: Any = {"type": "object"}
    for _ in range(depth):
        value = {"type": "array", "items": value}
    return value


TABLE: dict[str, list[tuple[Raw, str, str]]] = {
    "B-040": [
        (image("task", ...), "task", "required"),
        (image("task", None), "task", "required"),
        (image("task", []), "task", "object"),
        (image("modelSource", ...), "modelSource", "required"),
        (image("modelSource", None), "modelSource", "required"),
        (image("modelSource", "synthetic"), "modelSource", "object"),
        (image("model", ...), "model", "required"),
    ],
    "B-042": [
        (image("jobId", bad), "jobId", "1 to 128")
        for bad in ("../../admin", "..", "a/b", "a\r\nX: y", ".a", ":a", "a b", "ä", "x" * 10_240, "\u202ea")
    ],
    "B-043": [(image("task.kind", bad), "task.kind", "must be one of") for bad in ("IMAGE", "exec", None, 5, [], "")],
    "B-044": [
        (image(f"task.{side}", bad), f"task.{side}", "1 to 16384")
        for side in ("width", "height")
        for bad in (0, -1, 16_385, 1.5, "512", True, [])
    ]
    + [(put(image("task.width", 16_384), "task.height", 16_384), "task.width", "pixel budget of 67,108,864")],
    "B-045": [
        (image("task.steps", 1_001), "task.steps", "1 to 1000"),
        (image("task.steps", 0), "task.steps", "1 to 1000"),
        (image("task.seed", -1), "task.seed", "18446744073709551615"),
        (image("task.seed", 2**64), "task.seed", "18446744073709551615"),
        (image("task.seed", 2**70), "task.seed", "18446744073709551615"),
        (image("task.cfgScale", 1e308), "task.cfgScale", "100"),
        (image("task.denoise", 1.0001), "task.denoise", "0 to 1"),
        (video("task.seconds", 1e9), "task.seconds", "600"),
        (video("task.seconds", 0), "task.seconds", "above 0"),
        (video("task.fps", 0), "task.fps", "1 to 240"),
        (video("task.fps", 100_000), "task.fps", "1 to 240"),
        (llm("task.maxTokens", 0), "task.maxTokens", "1 to"),
        (llm("task.temperature", -0.1), "task.temperature", "0 to 10"),
        (llm("task.topP", 2), "task.topP", "0 to 1"),
    ],
    "B-046": [
        (image("task.prompt", "x" * 10_000_000), "task.prompt", "at most 100,000"),
        (image("task.prompt", "\0\0"), "task.prompt", "empty"),
        (image("task.prompt", ""), "task.prompt", "empty"),
        (image("task.prompt", 5), "task.prompt", "text"),
        (tts("task.text", " "), "task.text", "empty"),
    ],
    "B-047": [
        (llm("task.messages", []), "task.messages", "at least 1"),
        (llm("task.messages", ...), "task.messages", "required"),
        (llm("task.messages", [{"role": "root", "content": "x"}]), "task.messages.0.role", "'user'"),
        (llm("task.messages", [{"role": "user", "content": None}]), "task.messages.0.content", "must be text"),
        (llm("task.messages", [{"role": "user", "content": ""}] * 300_000), "task.messages", "at most"),
        (llm("task.stop", [""]), "task.stop", "empty"),
        (llm("task.stop", ["x"] * 10_000), "task.stop", "at most 64"),
    ],
    "B-048": [
        (llm("task.jsonSchema", {"$ref": "#"}), "task.jsonSchema", ""),
        (llm("task.jsonSchema", {"$ref": "http://127.0.0.1:9/schema.json"}), "task.jsonSchema", ""),
        (llm("task.jsonSchema", nested(400)), "task.jsonSchema", ""),
        (llm("task.jsonSchema", {"type": "string", "pattern": "(a+)+$"}), "task.jsonSchema", "pattern"),
        (llm("task.jsonSchema", "a schema"), "task.jsonSchema", ""),
    ],
    "B-049": [
        (tts("task.voice", "../../x.onnx"), "task.voice", "voice name"),
        (tts("task.voice", "a\0b"), "task.voice", "voice name"),
        (stt("task.language", "en;rm"), "task.language", "language tag"),
        (tts("task.language", "-e"), "task.language", "language tag"),
        *[(tts("task.speed", bad), "task.speed", "0.1 to 10") for bad in (0, -1, 1e9, "1")],
    ],
    "B-050": [
        (make("task.ext", bad), "task.ext", "'")
        for make in (image, tts, video)
        for bad in ("png\r\nX: y", "php", "../x", "", 5)
    ],
    "B-051": [
        (image("modelSource.engine", bad), "modelSource.engine", "source id")
        for bad in ("synthetic ", "sd-\u0441pp", "*", "../x", "", "a" * 200, "\x1b[31m")
    ],
    "B-052": [
        (files(*[{"filename": f"{n}.bin"} for n in range(10_000)]), "modelSource.files", "at most 64"),
        (files({}, {"url": "https://models.example/other"}), "modelSource.files.1.filename", "one name"),
        (
            files({}, {"url": "https://models.example/b", "filename": "A.BIN"}),
            "modelSource.files.1.filename",
            "one name",
        ),
        (files({"approxBytes": -1}), "modelSource.files.0.approxBytes", "0 to"),
        (files({"approxBytes": 1e30}), "modelSource.files.0.approxBytes", "whole number"),
        (files({"approxBytes": 2**60}), "modelSource.files.0.approxBytes", "0 to"),
        (files({"sha256": "a" * 63}), "modelSource.files.0.sha256", "64 hexadecimal"),
        (files({"filename": "../a.bin"}), "modelSource.files.0.filename", "separator"),
        (files({"role": "a/b"}), "modelSource.files.0.role", "role"),
    ],
    "B-053": [
        (image("vramGbEstimate", -5), "vramGbEstimate", "0 to"),
        (image("vramGbEstimate", "8"), "vramGbEstimate", "number"),
        (image("vramGbEstimate", True), "vramGbEstimate", "number"),
    ],
    "B-054": [
        (image("modelSource.cliDefaults", {"steps": "20; rm -rf /"}), "modelSource.cliDefaults.steps", "whole number"),
        (image("task.samplingMethod", "--help"), "task.samplingMethod", "euler_a"),
        (
            image("modelSource.cliDefaults", {"samplingMethod": "--help"}),
            "modelSource.cliDefaults.samplingMethod",
            "euler_a",
        ),
    ],
}
"""By row: a claim, the field that its refusal names, and words of the refusal."""


@pytest.mark.parametrize("row", TABLE)
async def test_a_claim_that_breaks_the_contract_ends_its_job_by_field_and_the_session_goes_on(
    site: Site, row: str
) -> None:
    studio = site.studio
    for number, (claim, field, reason) in enumerate(TABLE[row]):
        job_id = claim["jobId"] if row == "B-042" else f"{row}.{number}"
        claim = claim | {"jobId": job_id}
        await studio.offer(claim)
        fail = await studio.frame("fail", job_id=job_id)
        accept = await studio.frame("accept", job_id=job_id)

        assert accept.at <= fail.at
        assert fail["retryable"] is False
        assert field in fail["error"], fail["error"]
        assert reason in fail["error"], (field, fail["error"])
        assert len(fail["error"]) < 1_000
        assert fail["error"].isprintable()
    await studio.offer(words("good"))
    await site.settled("good")

    assert studio.violations == []
    assert len(studio.sessions) == 1
    assert site.engine.runs == {"good": 1}
    assert not [request for request in studio.requests if "/jobs/" in request.path]


@pytest.mark.parametrize("bad", [5, None, [], "", "  ", "\0", "x" * 20_000])
async def test_an_offer_without_a_readable_id_is_skipped_and_the_session_goes_on(site: Site, bad: object) -> None:
    claim = picture("job")
    await site.studio.session.send({"type": "offer", "claim": claim | {"jobId": bad}})
    await site.studio.session.send({"type": "offer", "claim": {name: claim[name] for name in claim if name != "jobId"}})
    await site.studio.offer(words("good"))
    await site.settled("good")

    assert {frame["jobId"] for frame in site.studio.frames if "jobId" in frame.fields} == {"good"}
    assert len(site.studio.sessions) == 1


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ('"vramGbEstimate": NaN', "vramGbEstimate"),
        ('"vramGbEstimate": 1e400', "vramGbEstimate"),
        ('"vramGbEstimate": -Infinity', "vramGbEstimate"),
        ('"model": "\\ud800"', "model"),
        ('"attempt": ' + "9" * 5_000, "attempt"),
    ],
)
async def test_numbers_and_letters_that_json_cannot_carry_cost_one_job_at_most(
    site: Site, text: str, field: str
) -> None:
    """Such an offer is either skipped as unreadable, or refused by the field; both leave the session alone."""
    claim = json.dumps({name: value for name, value in picture("job").items() if name != field})
    site.studio.session.offered.add("job")
    await site.studio.session.send_text('{"type": "offer", "claim": ' + claim[:-1] + ", " + text + "}}")
    await site.studio.offer(words("good"))
    await site.settled("good")

    fails = site.studio.of_type("fail", job_id="job")
    assert all(field in fail["error"] and fail["retryable"] is False for fail in fails)
    assert site.engine.runs == {"good": 1}
    assert len(site.studio.sessions) == 1


@pytest.mark.parametrize("seed", [2**63, 2**64 - 1, 0])
async def test_the_largest_seeds_are_taken(site: Site, seed: int) -> None:
    await site.studio.offer(picture("job-1", seed=seed))
    assert (await site.engine.entered.get()).seed == seed
    await site.settled("job-1")


async def test_a_lora_tag_in_a_prompt_is_text_and_names_no_file(site: Site) -> None:
    prompt = "a cup <lora:../../etc/passwd:1>"
    await site.studio.offer(picture("job-1", prompt=prompt))
    job = await site.engine.entered.get()
    await site.settled("job-1")

    assert job.task.prompt == prompt
    assert job.files == {}


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
async def test_a_number_that_is_not_finite_never_reaches_an_engine(site: Site, bad: float) -> None:
    site.studio.session.offered.add("job")
    await site.studio.session.send({"type": "offer", "claim": put(words("job"), "task.chatTemplateKwargs", {"t": bad})})
    await site.studio.offer(words("good"))
    await site.settled("good")

    assert site.engine.runs == {"good": 1}
    assert len(site.studio.sessions) == 1
