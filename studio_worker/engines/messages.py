"""What the worker and an engine's child say to each other: two closed sets of messages, one for each direction.

Down: a child's first message is `Describe` or `Open`; after `Open` come `Run`, `Cancel`, `Estimate` and `Unload`.
Up: `Described` or `Refused`; after `Open` also `Ready`, and of runs `Started`, `Loaded`, `Progress`, `Chunk`, `Log` and
one of `Done` and `Failed`; `Estimated` and `Unloaded` answer a question by its number. Bytes travel as base64.

The first message carries the protocol's number; a child of another environment may have another, and refuses then.

A message is a JSON object whose ``type`` is the class's name in small letters. Imports nothing heavy.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, TypeAlias, get_args, get_type_hints

from studio_worker.engines.framing import BrokenFrame
from studio_worker.version import CHILD_PROTOCOL


@dataclass(frozen=True, slots=True)
class Describe:
    """Down: import the entry point or call the factory `value`, say what it brings.

    `module` is the one whose code an exception is looked for in; None: that of `value`. The other fields are those of
    `Open`.
    """

    value: str
    table: dict[str, Any]
    is_factory: bool
    path: list[Any] | None
    pythonpath: str | None
    protocol: int = CHILD_PROTOCOL
    module: str | None = None


@dataclass(frozen=True, slots=True)
class Open:
    """Down: build one engine and serve its jobs.

    Attributes:
        value: the entry point, or ``package.module:factory`` where `is_factory`.
        table: the plugin's own configuration.
        position: which of the engines that it brings.
        name: that engine's name, as it was described.
        concurrency: runs at once.
        device: the device that it was given, as the worker calls it; None where it was given none.
        is_factory: whether `value` is to be called.
        path: the worker's `sys.path`; None: the child's own stands.
        pythonpath: the worker's PYTHONPATH.
        protocol: what the worker speaks.
    """

    value: str
    table: dict[str, Any]
    position: int
    name: str
    concurrency: int
    device: str | None
    is_factory: bool
    path: list[Any] | None
    pythonpath: str | None
    protocol: int = CHILD_PROTOCOL


@dataclass(frozen=True, slots=True)
class Run:
    """Down: run a job (`job_wire.pack_job`). `run` is a number that is never used again."""

    run: int
    job: dict[str, Any]
    is_stream: bool


@dataclass(frozen=True, slots=True)
class Cancel:
    """Down: set the run's cancel flag."""

    run: int


@dataclass(frozen=True, slots=True)
class Estimate:
    """Down: how much memory `model` takes (`job_wire.pack_model`)."""

    call: int
    model: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Unload:
    """Down: unload what is warm, unless a run uses it."""

    call: int


@dataclass(frozen=True, slots=True)
class Described:
    """Up: the engines (`self_report.report_of`) and job hooks of a plugin."""

    engines: list[Any]
    hooks: list[Any]


@dataclass(frozen=True, slots=True)
class Refused:
    """Up: the plugin could not be described, or its engine not built."""

    reason: str


@dataclass(frozen=True, slots=True)
class Ready:
    """Up: the engine is built."""


@dataclass(frozen=True, slots=True)
class Started:
    """Up: a thread has taken the run; from here a lost child is this run's loss. `loads`: `Loaded` is to come."""

    run: int
    loads: bool


@dataclass(frozen=True, slots=True)
class Loaded:
    """Up: the run's model is loaded. With the bytes that the process holds for it, None where nobody can tell."""

    run: int
    ram_bytes: int | None
    vram_bytes: int | None


@dataclass(frozen=True, slots=True)
class Progress:
    """Up: how far a run is; `preview` is base64."""

    run: int
    step: int
    total: int
    stage: str
    preview: str | None


@dataclass(frozen=True, slots=True)
class Chunk:
    """Up: a piece of a streamed result: text, or `pcm` (base64) at `rate` Hz."""

    run: int
    text: str
    reasoning: str
    pcm: str | None
    rate: int


@dataclass(frozen=True, slots=True)
class Log:
    """Up: a log line of the engine; `run` is None for what belongs to no run."""

    run: int | None
    level: str
    text: str
    fields: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Done:
    """Up: a run's result (`job_wire.pack_result`) and the engine's notes."""

    run: int
    result: dict[str, Any]
    meta: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Failed:
    """Up: a run's error (`failures.pack_error`)."""

    run: int
    kind: str
    message: str
    retryable: bool


@dataclass(frozen=True, slots=True)
class Estimated:
    """Up: the answer to `Estimate`, in bytes; None where the engine does not know."""

    call: int
    ram_bytes: int | None
    vram_bytes: int | None


@dataclass(frozen=True, slots=True)
class Unloaded:
    """Up: the answer to `Unload`: whether something was unloaded."""

    call: int
    was_loaded: bool


Up: TypeAlias = (
    Described | Refused | Ready | Started | Loaded | Progress | Chunk | Log | Done | Failed | Estimated | Unloaded
)
Down: TypeAlias = Describe | Open | Run | Cancel | Estimate | Unload

_UP: dict[str, type[Up]] = {kind.__name__.lower(): kind for kind in get_args(Up)}
_DOWN: dict[str, type[Down]] = {kind.__name__.lower(): kind for kind in get_args(Down)}


def to_json(message: Up | Down) -> dict[str, Any]:
    """The message as a JSON object."""
    kind = type(message)
    return {"type": kind.__name__.lower(), **{name: getattr(message, name) for name, _ in _FIELDS[kind]}}


def read_up(raw: dict[str, Any]) -> Up:
    """A child's message; believed in nothing but its types.

    Raises:
        BrokenFrame: it is none of those that a child may send.
    """
    kind = _UP.get(str(raw.get("type")))
    if kind is None:
        raise BrokenFrame("the pipe carries a message of an unknown type")
    return kind(**_values(kind, raw))


def read_down(raw: dict[str, Any]) -> Down:
    """A worker's message.

    Raises:
        BrokenFrame: it is none of those that a worker may send.
    """
    kind = _DOWN.get(str(raw.get("type")))
    if kind is None:
        raise BrokenFrame("the pipe carries an order of an unknown type")
    return kind(**_values(kind, raw))


def _values(kind: type[Any], raw: dict[str, Any]) -> dict[str, Any]:
    values = {}
    for name, types in _FIELDS[kind]:
        value = raw.get(name)
        if type(value) not in types:
            raise BrokenFrame(f"the pipe carries a message {kind.__name__!r} whose {name!r} is not what it should be")
        values[name] = value
    return values


def _types_of(kind: type[Any]) -> tuple[tuple[str, frozenset[type[Any]]], ...]:
    """Each field with the exact types that its value may have: in JSON, true is no number."""
    hints = get_type_hints(kind)
    return tuple((field.name, frozenset(_plain(hints[field.name]))) for field in fields(kind))


def _plain(hint: Any) -> list[type[Any]]:
    if hint in (int, str, bool, type(None)):
        return [hint]
    origin = getattr(hint, "__origin__", None)
    return [origin] if origin is not None else [each for part in get_args(hint) for each in _plain(part)]


_FIELDS: dict[type[Any], tuple[tuple[str, frozenset[type[Any]]], ...]] = {
    kind: _types_of(kind) for kind in (*_UP.values(), *_DOWN.values())
}
