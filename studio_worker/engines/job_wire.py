"""Jobs, models and results as the JSON of the pipe; what is large goes by a file in the job's folder.

Used on both sides. Importing it costs what the wire's models cost.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from binascii import Error as BadBase64
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio_worker.engines.base import (
    AudioResult,
    EngineJob,
    ImageResult,
    LlmResult,
    Result,
    TranscriptResult,
    VideoResult,
)
from studio_worker.engines.framing import BrokenFrame
from studio_worker.models.files import LoadOptions, ModelFiles
from studio_worker.wire.model_source import ModelSource, parse_model_source
from studio_worker.wire.tasks import parse_task, task_to_wire

if TYPE_CHECKING:
    from loguru import Logger

MAX_INLINE_BYTES = 64 * 1024
"""The largest result that travels in a message."""

MAX_JSON_BYTES = 256 * 1024 * 1024
"""The largest JSON result that is read from a file."""

_BINARY: dict[str, type[ImageResult | AudioResult | VideoResult]] = {
    "image": ImageResult,
    "audio": AudioResult,
    "video": VideoResult,
}
_JSON: dict[str, type[LlmResult | TranscriptResult]] = {"llm": LlmResult, "transcript": TranscriptResult}
_NAMES: dict[type[Any], str] = {kind: name for name, kind in (*_BINARY.items(), *_JSON.items())}


def pack_model(model: ModelFiles) -> dict[str, Any]:
    """A model's files and options."""
    options = {name: getattr(model.options, name) for name in LoadOptions.__slots__}
    return {
        "id": model.id,
        "source": _source_to_wire(model.source),
        "files": {role: [str(path) for path in paths] for role, paths in model.files.items()},
        "options": {**options, "chat_template_kwargs": dict(model.options.chat_template_kwargs)},
        "dir": None if model.dir is None else str(model.dir),
    }


def unpack_model(raw: dict[str, Any]) -> ModelFiles:
    """What `pack_model` made."""
    return ModelFiles(
        id=raw["id"],
        source=None if raw["source"] is None else parse_model_source(raw["source"]),
        files={role: [Path(path) for path in paths] for role, paths in raw["files"].items()},
        options=LoadOptions(**raw["options"]),
        dir=None if raw["dir"] is None else Path(raw["dir"]),
    )


def pack_job(job: EngineJob, model: ModelFiles) -> dict[str, Any]:
    """A job with its model, for `Run`."""
    return {
        "id": job.id,
        "task": task_to_wire(job.task),
        "seed": job.seed,
        "work_dir": str(job.work_dir),
        "inputs": {name: str(path) for name, path in job.inputs.items()},
        "model": pack_model(model),
    }


def unpack_job(raw: dict[str, Any], log: Logger) -> tuple[EngineJob, ModelFiles]:
    """What `pack_job` made; `log` becomes the job's own."""
    model = unpack_model(raw["model"])
    job = EngineJob(
        id=raw["id"],
        model=model.id,
        task=parse_task(raw["task"]),
        seed=raw["seed"],
        work_dir=Path(raw["work_dir"]),
        log=log,
        source=model.source,
        files=model.files,
        inputs={name: Path(path) for name, path in raw["inputs"].items()},
        options=model.options,
    )
    return job, model


def pack_result(result: Result, work_dir: Path, run: int) -> dict[str, Any]:
    """A checked result. What is over 64 KiB is written into `work_dir` first, so it may block."""
    kind = _NAMES[type(result)]
    if isinstance(result, (LlmResult, TranscriptResult)):
        text = json.dumps(result.json, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        if len(text) <= MAX_INLINE_BYTES:
            return {"kind": kind, "json": text}
        return {"kind": kind, "path": _written(work_dir, f"result-{run}.json", text.encode())}
    if isinstance(result.data, Path):
        return {"kind": kind, "ext": result.ext, "path": str(result.data)}
    if len(result.data) <= MAX_INLINE_BYTES:
        return {"kind": kind, "ext": result.ext, "data": b64encode(result.data).decode()}
    return {"kind": kind, "ext": result.ext, "path": _written(work_dir, f"result-{run}.bin", result.data)}


def is_in_file(raw: dict[str, Any]) -> bool:
    """Whether `unpack_result` and the check after it look at a file, which belongs in a thread."""
    return "path" in raw


def unpack_result(raw: dict[str, Any], work_dir: Path) -> Result:
    """What `pack_result` made, as far as types go; `output.check_output` decides whether it is believed.

    Raises:
        BrokenFrame: it is no result.
    """
    kind = raw.get("kind")
    try:
        if kind in _JSON:
            return _JSON[kind](json.loads(_json_text(raw, work_dir)))
        if kind in _BINARY and isinstance(raw["ext"], str):
            return _BINARY[kind](Path(raw["path"]) if "path" in raw else unpack_bytes(raw["data"]), raw["ext"])
    except (KeyError, TypeError, ValueError, RecursionError, OSError) as error:
        raise BrokenFrame(f"the result cannot be read ({type(error).__name__})") from None
    raise BrokenFrame("the result is of no known kind")


def pack_bytes(data: bytes | None) -> str | None:
    """Bytes as base64."""
    return None if data is None else b64encode(data).decode()


def unpack_bytes(text: str) -> bytes:
    """What `pack_bytes` made.

    Raises:
        BrokenFrame: it is no base64.
    """
    try:
        return b64decode(text, validate=True)
    except (BadBase64, ValueError):
        raise BrokenFrame("the pipe carries bytes that cannot be read") from None


def _json_text(raw: dict[str, Any], work_dir: Path) -> str:
    if "path" not in raw:
        return str(raw["json"])
    path = Path(raw["path"]).resolve(strict=True)
    if not path.is_relative_to(work_dir.resolve()) or path.stat().st_size > MAX_JSON_BYTES:
        raise ValueError("outside the job's folder, or too long")
    return path.read_text("utf-8")


def _written(work_dir: Path, name: str, data: bytes) -> str:
    path = work_dir / name
    path.write_bytes(data)
    return str(path)


def _source_to_wire(source: ModelSource | None) -> dict[str, Any] | None:
    return None if source is None else source.to_wire()
