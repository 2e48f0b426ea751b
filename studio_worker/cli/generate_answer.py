"""What came of a local job, handed to the person who asked: texts printed, bytes kept, all of it told."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from studio_worker.cli import output
from studio_worker.cli.generate_order import Order
from studio_worker.cli.generate_run import Done
from studio_worker.cli.generate_target import Target, print_bytes
from studio_worker.engines.base import LlmResult, TranscriptResult
from studio_worker.errors import StudioWorkerError
from studio_worker.wire.results import media_type
from studio_worker.wire.strict_json import dumps_lossy


class LiveText:
    """An answer on stdout: as it comes where a person looks on, else as a whole at its end.

    Args:
        is_wanted: whether the answer is printed at all.
    """

    def __init__(self, *, is_wanted: bool) -> None:
        self.is_live = is_wanted and output.is_terminal(sys.stdout)
        self._last = ""

    def take(self, piece: str) -> None:
        """Print a piece, which is not empty."""
        output.text(piece)
        self._last = piece[-1]

    def finish(self, whole: str) -> None:
        """Print the whole answer, unless it stands there in pieces; a line is ended either way."""
        if not self._last:
            self._last = whole[-1:]
            output.text(whole)
        if self._last != "\n":
            output.text("\n")


def hand_out(order: Order, target: Target, done: Done, live: LiveText, *, total_secs: float, as_json: bool) -> None:
    """Print or write a result, then say on stderr where it is and how it was made.

    Args:
        order: what was asked for.
        target: where the result goes.
        done: the result.
        live: the answer as far as it is printed already.
        total_secs: from the command's start.
        as_json: print one object that tells everything, in place of a text.

    Raises:
        ResultNotWritten: the disk refuses.
    """
    told = _asked_of(order) | {"engine": done.meta.get("engine"), "seed": done.meta.get("seed")}
    data, ext = _file_of(done, target)
    if isinstance(done.result, (LlmResult, TranscriptResult)):
        told["result"] = done.result.json
        if target.is_stdout and not as_json:
            live.finish(text_of(done.result))
    elif target.is_stdout:
        print_bytes(data)
    if not target.is_stdout:
        path = target.write(data, seed=told["seed"], ext=ext)
        told |= {"path": str(path), "bytes": len(data), "ext": ext}
        is_misnamed = order.kind.is_binary and path.suffix and media_type(path.suffix[1:]) != media_type(ext)
        what = f" of {ext}, whatever its name says" if is_misnamed else ""
        output.note(f"wrote {path}: {len(data):,} bytes{what}")
    told["seconds"] = {
        "start": round(done.start_secs, 3),
        "job": round(done.job_secs, 3),
        "total": round(total_secs, 3),
    }
    told["meta"] = dict(done.meta)
    if as_json:
        output.json_text(told)
    if _is_cut_short(done.result):
        output.note("the answer ends at its limit: --max-tokens allows a longer one")
    output.note(f"engine {told['engine']}, seed {told['seed']}, {done.job_secs:.2f} s")


@contextmanager
def failures_told(order: Order, *, as_json: bool) -> Iterator[None]:
    """A block whose failures are printed as JSON, where that was asked for, before they go on up."""
    try:
        yield
    except StudioWorkerError as error:
        if as_json:
            tell_failure(order, error)
        raise


def tell_failure(order: Order, error: StudioWorkerError) -> None:
    """Print the JSON object of a job that failed: what was asked for, and `error`, with whether a retry can help."""
    output.json_text(_asked_of(order) | {"error": {"message": str(error), "retryable": error.retryable}})


def text_of(result: LlmResult | TranscriptResult) -> str:
    """What a text result says: the answer, or the transcript; the whole object where it says it otherwise."""
    if isinstance(result, TranscriptResult):
        return str(result.json["text"])
    said = _choice(result.json).get("message", {}).get("content")
    return said if isinstance(said, str) else dumps_lossy(result.json, indent=2)


def _asked_of(order: Order) -> dict[str, Any]:
    return {
        "kind": order.kind.value,
        "model": order.model,
        "source": order.source.engine if order.source is not None else None,
    }


def _file_of(done: Done, target: Target) -> tuple[bytes, str]:
    result = done.result
    if not isinstance(result, (LlmResult, TranscriptResult)):
        assert isinstance(result.data, bytes), "a local job's result is in memory"
        return result.data, result.ext
    if target.out is not None and target.out.suffix.lower() == ".json":
        return (dumps_lossy(result.json, indent=2) + "\n").encode(), "json"
    text = text_of(result)
    return (text if text.endswith("\n") else text + "\n").encode(errors="replace"), "txt"


def _choice(completion: Mapping[str, Any]) -> Mapping[str, Any]:
    choices = completion.get("choices") or [{}]
    return choices[0] if isinstance(choices[0], dict) else {}


def _is_cut_short(result: object) -> bool:
    return isinstance(result, LlmResult) and _choice(result.json).get("finish_reason") == "length"
