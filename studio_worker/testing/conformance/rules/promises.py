"""Rules about what an engine promises beyond a result: the same bytes, several jobs at once, pieces, an estimate."""

from __future__ import annotations

import asyncio
import io
import wave
from typing import Any

from studio_worker.engines.base import RESULT_TYPES, AudioChunk, AudioResult, LlmResult, TextDelta
from studio_worker.errors import EngineError, ResultRejected
from studio_worker.testing.conformance.rule import BrokenRule, NotApplicable
from studio_worker.testing.conformance.trial import Trial
from studio_worker.testing.conformance.workbench import Ran

MOST_AT_ONCE = 4
"""Jobs that are run at once, whatever more an engine promises."""

FEW_BYTES = 1_000
"""No model takes so little; whoever says it means gigabytes."""

MANY_BYTES = 10**14
"""No machine has so much; whoever says it has counted bytes as something larger."""


async def is_deterministic(trial: Trial) -> str:
    """The same job with the same seed gives the same bytes, also in another process."""
    if not trial.description.deterministic:
        raise NotApplicable("claims no determinism")
    runs = await trial.good_runs()
    samples = [ran.sample for ran in runs]
    again = {
        "when it was run again": [await trial.bench.run(sample) for sample in samples],
        "in another process": await trial.bench.run_fresh(samples),
    }
    for when, others in again.items():
        for ran, other in zip(runs, others, strict=True):
            if other.error is not None:
                raise BrokenRule(f"the sample of {ran.sample.kind} failed {when}: {other.error}")
            if other.what_counts != ran.what_counts:
                raise BrokenRule(
                    f"deterministic is True, and the sample of {ran.sample.kind} gave another result {when} with the "
                    "same seed: draw all randomness from job.seed, or leave `deterministic` False"
                )
    return f"{len(runs)} sample{'s' if len(runs) > 1 else ''} the same, also after a reload"


async def runs_side_by_side(trial: Trial) -> str:
    """As many jobs as it says run at once."""
    count = min(trial.description.concurrency, MOST_AT_ONCE)
    if count == 1:
        raise NotApplicable("runs one job at a time")
    alone, is_repeatable = await trial.quickest(), await trial.is_repeatable()
    for ran in await asyncio.gather(*(trial.bench.run(alone.sample) for _ in range(count))):
        if ran.error is not None:
            raise BrokenRule(
                f"concurrency is {trial.description.concurrency}, and of {count} jobs at once one fails: {ran.error}; "
                "share nothing between runs, or lower `concurrency`"
            )
        if is_repeatable and ran.what_counts != alone.what_counts:
            raise BrokenRule(
                f"concurrency is {trial.description.concurrency}, and {count} jobs at once disturb each other: one "
                "gave another result than alone; share nothing between runs, or lower `concurrency`"
            )
    return f"{count} jobs at once"


async def stream_adds_up(trial: Trial) -> str:
    """A stream ends with the result, and its pieces are the result."""
    tried = 0
    for first in await trial.delivered_runs():
        ran = await trial.bench.run(first.sample, is_stream=True)
        if ran.record is None or not ran.record["pieces"]:
            if ran.error is None:
                continue
            raise BrokenRule(f"stream() fails where run() does not: {ran.error}")
        tried += 1
        _check_pieces(ran)
    if not tried:
        raise NotApplicable("has no stream")
    return f"{tried} stream{'s' if tried > 1 else ''} joined to the result"


async def runs_as_declared(trial: Trial) -> str:
    """Where the worker would run it, with nobody who looks on, it does the same."""
    alone, is_repeatable = await trial.quickest(), await trial.is_repeatable()
    ran = await trial.bench.run_unwatched(alone.sample, trial.description)
    if ran.error is not None:
        raise BrokenRule(f"with isolation {trial.description.isolation!r} the sample fails: {ran.error}")
    if is_repeatable and ran.what_counts != alone.what_counts:
        raise BrokenRule(
            f"with isolation {trial.description.isolation!r} the sample gives another result than in a process of its "
            "own: let nothing depend on where the engine runs"
        )
    return f"the same with isolation {trial.description.isolation!r}"


async def estimates_bytes(trial: Trial) -> str:
    """`estimate` says bytes, or nothing."""
    sample = (await trial.first_runs())[0].sample
    try:
        await trial.bench.estimate(sample)
    except EngineError as error:
        raise BrokenRule(f"estimate() gives no answer: {error}; look at file sizes alone there") from None
    said = trial.bench.estimated()
    if said is None:
        raise NotApplicable("the engine's process could not be asked, see every-kind-runs")
    if said["raised"]:
        raise BrokenRule(f"estimate() raised {said['raised']}; return None where nothing is known")
    if said["type"] == "NoneType":
        raise NotApplicable("has no estimate")
    if said["type"] != "Estimate":
        raise BrokenRule(f"estimate() returned a {said['type']}; return Estimate(ram_bytes, vram_bytes) or None")
    for name in ("ram_bytes", "vram_bytes"):
        value = said[name]
        if not isinstance(value, int) or value < 0 or 0 < value < FEW_BYTES or value > MANY_BYTES:
            raise BrokenRule(
                f"estimate() says {name}={value!r}; whole bytes are needed, so a gigabyte is 1_000_000_000"
            )
    return f"{said['ram_bytes'] / 1e6:,.0f} MB of RAM, {said['vram_bytes'] / 1e6:,.0f} MB of video memory"


def _check_pieces(ran: Ran) -> None:
    pieces = ran.record["pieces"] if ran.record is not None else []
    needed = RESULT_TYPES[ran.sample.kind].__name__
    if needed in pieces[:-1]:
        raise BrokenRule(f"stream() yields a {needed} and goes on; yield it once, as the last")
    if stray := [name for name in pieces[:-1] if name not in (TextDelta.__name__, AudioChunk.__name__)]:
        raise BrokenRule(
            f"stream() yields a {stray[0]}; its pieces are TextDelta or AudioChunk, and the {needed} is last"
        )
    if ran.error is not None and pieces[-1] == needed:
        raise BrokenRule(f"stream() fails where run() does not: {ran.error}")
    if pieces[-1] != needed:
        raise BrokenRule(f"stream() ends with a {pieces[-1]}; yield the {needed} last")
    if ran.output is None:
        return
    try:
        ran.inspect()
    except ResultRejected as problem:
        raise BrokenRule(f"the result of stream() would not be delivered, that of run() is: {problem}") from None
    result = ran.output.result
    if isinstance(result, LlmResult):
        message = result.json["choices"][0]["message"]
        _check_text(ran, "content", "text", message)
        _check_text(ran, "reasoning_content", "reasoning", message)
    elif isinstance(result, AudioResult) and result.ext == "wav" and ran.data is not None:
        with wave.open(io.BytesIO(ran.data)) as file:
            whole = file.readframes(file.getnframes())
        if b"".join(piece.pcm for piece in ran.chunks if isinstance(piece, AudioChunk)) != whole:
            raise BrokenRule(
                "the AudioChunks of stream() do not join into the sound of its result; yield all of it, once"
            )


def _check_text(ran: Ran, name: str, of_piece: str, message: Any) -> None:
    joined = "".join(getattr(piece, of_piece) for piece in ran.chunks if isinstance(piece, TextDelta))
    whole = message.get(name) or ""
    if joined != whole:
        raise BrokenRule(
            f"the {of_piece} of stream()'s pieces joins to {joined[:60]!r}, and its result says {whole[:60]!r} as "
            f"{name}; the pieces must join into the result"
        )
