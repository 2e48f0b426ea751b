"""The measured times of jobs in the state folder, so that they outlive the worker that measured them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from studio_worker.engines.speeds import MAX_JOBS, MAX_PAIRS, Speeds, Times
from studio_worker.errors import ConfigError
from studio_worker.log import logger
from studio_worker.private_file import read_private, reason, write_atomically
from studio_worker.wire.kinds import TaskKind

NAME = "speeds.json"
"""The file, in the state folder."""

LIMIT_BYTES = 4 * 1024 * 1024
"""Far more than as many models as are remembered take, with the longest names that there are."""


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    engine: str
    key: tuple[str, str, str, int]
    kind: TaskKind
    model: str
    secs: list[Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(min_length=1, max_length=MAX_JOBS)


_FILE = TypeAdapter(Annotated[list[_Entry], Field(max_length=MAX_PAIRS)])


def read_speeds(folder: Path) -> Speeds:
    """What was kept in a state folder; nothing where there is no such file, or none of ours. For a thread."""
    path = folder / NAME
    try:
        entries = _FILE.validate_json(read_private(path, limit_bytes=LIMIT_BYTES))
    except FileNotFoundError:
        return Speeds()
    except (ConfigError, ValidationError) as error:
        why = str(error) if isinstance(error, ConfigError) else "it does not hold what the worker wrote"
        logger.bind(event="speeds.read", path=str(path), reason=why).warning("Measured speeds are forgotten")
        return Speeds()
    return Speeds([Times(each.engine, each.key, each.kind, each.model, tuple(each.secs)) for each in entries])


def write_speeds(folder: Path, times: tuple[Times, ...]) -> None:
    """Keep what `Speeds.times` gave in a state folder; one that cannot be written is logged only. For a thread."""
    path = folder / NAME
    entries = [
        _Entry(engine=each.engine, key=each.key, kind=each.kind, model=each.model, secs=list(each.secs))
        for each in times
    ]
    try:
        write_atomically(path, _FILE.dump_json(entries))
    except OSError as error:
        logger.bind(event="speeds.write", path=str(path), reason=reason(error)).warning(
            "Measured speeds could not be kept"
        )
