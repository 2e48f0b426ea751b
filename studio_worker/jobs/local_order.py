"""The order of a caller in this process, its types looked at where it is given: a slip there is the program's."""

from __future__ import annotations

import operator
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from studio_worker.jobs.plan import LocalOrder
from studio_worker.wire.model_source import ModelSource
from studio_worker.wire.tasks import TASK_TYPES, Task

FilePath: TypeAlias = str | os.PathLike[str]


def local_order(
    job_id: str,
    task: Task,
    *,
    model: str,
    source: ModelSource | None,
    inputs: Mapping[str, FilePath] | None,
    files: Mapping[str, Sequence[FilePath]] | None,
    seed: int | None,
) -> LocalOrder:
    """What `Worker.submit` was asked for, as an order. No sentence repeats a value: it may be a whole file.

    Raises:
        TypeError: an argument is of another type than it should be; the sentence names it.
    """
    if not isinstance(task, tuple(TASK_TYPES.values())):
        known = [each.__name__ for each in TASK_TYPES.values()]
        raise _wrong("task", f"{', '.join(known[:-1])} or {known[-1]}", task)
    if not isinstance(model, str):
        raise _wrong("model", "the model id, a str", model)
    if source is not None and not isinstance(source, ModelSource):
        raise _wrong("source", "a ModelSource", source)
    return LocalOrder(
        job_id=job_id,
        model=model,
        task=task,
        source=source,
        inputs={name: _path(f"inputs[{name!r}]", each) for name, each in _entries("inputs", inputs)},
        files=None if files is None else {role: _paths(role, each) for role, each in _entries("files", files)},
        seed=None if seed is None else _whole(seed),
    )


def _entries(argument: str, given: object) -> list[tuple[str, object]]:
    if given is None:
        return []
    if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
        raise _wrong(argument, "a mapping by role", given)
    return list(given.items())


def _paths(role: str, given: object) -> list[Path]:
    argument = f"files[{role!r}]"
    if isinstance(given, (str, bytes)) or not isinstance(given, Sequence):
        raise _wrong(argument, "a list of paths", given)
    return [_path(f"{argument}[{index}]", each) for index, each in enumerate(given)]


def _path(argument: str, given: object) -> Path:
    if not isinstance(given, (str, os.PathLike)) or not isinstance(path := os.fspath(given), str):
        raise _wrong(argument, "a path", given)
    return Path(path)


def _whole(seed: object) -> int:
    """Also of an integer that another library has made."""
    if isinstance(seed, bool) or not hasattr(seed, "__index__"):
        raise _wrong("seed", "a whole number", seed)
    return operator.index(seed)


def _wrong(argument: str, needed: str, given: object) -> TypeError:
    kind = type(given).__name__
    return TypeError(f"{argument}: {needed} is needed, not {'None' if given is None else kind}")
