"""The reference page of the wire: every object of `studio_worker.wire` with its fields, as its model has them."""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import MaxLen, MinLen
from pydantic.fields import FieldInfo

from studio_worker.wire import registration, results
from studio_worker.wire.base import WireModel
from studio_worker.wire.capabilities import Capabilities
from studio_worker.wire.claims import Envelope
from studio_worker.wire.frames import (
    MAX_FRAME_BYTES,
    STUDIO_FRAMES,
    WORKER_FRAMES,
    CloseCode,
    ErrorCode,
    LogEntry,
    RejectCode,
)
from studio_worker.wire.model_source import CliDefaults, ModelFile, ModelSource
from studio_worker.wire.tasks import TASK_TYPES, Message

HEAD = f"""\
# The wire, field by field

Every object that travels between a worker and a studio, as this release reads and writes it;
[the protocol](protocol.md) says when, and what for. Names are camelCase, those inside of results as OpenAI writes them.
A field that is not required is left out where there is nothing to say, and null is read as absent. Unknown fields are
ignored. Numbers and booleans are strict: `"5"` is no 5, and `true` no 1. A frame has at most {MAX_FRAME_BYTES:,} bytes.
"""

CLAIM_PARTS = (
    ("task", "one of [the tasks](#tasks), with its `kind`"),
    ("modelSource", "[ModelSource](#modelsource)"),
)
"""What a claim has besides its envelope."""

SCALARS = {str: "text", int: "integer", float: "number", bool: "`true` or `false`", Any: "any JSON value"}


def wire_page() -> str:
    """The page of the wire."""
    parts = [
        HEAD,
        "## Frames of a worker\n",
        *_sections(WORKER_FRAMES, "type"),
        "## Frames of a studio\n",
        *_sections(STUDIO_FRAMES, "type"),
        "## Parts of frames\n",
        *_sections(_named(Capabilities, LogEntry)),
        "## Codes\n",
        _codes(RejectCode, ("Code",), ((f"`{code}`",) for code in RejectCode)),
        _codes(ErrorCode, ("Code", "Close code"), ((f"`{code}`", f"{code.close_code:d}") for code in ErrorCode)),
        _codes(CloseCode, ("Code", "Name"), ((f"{code:d}", f"`{code.name}`") for code in CloseCode)),
        "## Claims\n",
        _object("Claim", Envelope, more=CLAIM_PARTS),
        "## Tasks\n",
        *_sections({kind.value: model for kind, model in TASK_TYPES.items()}, "kind"),
        *_sections(_named(Message)),
        "## Model sources\n",
        *_sections(_named(ModelSource, ModelFile, CliDefaults)),
        "## Results\n",
        *_sections(_models_of(results)),
        "### Media types\n",
        _table(("ext", "Content-Type"), ((f"`{ext}`", f"`{kind}`") for ext, kind in results.MEDIA_TYPES.items())),
        "## Registration\n",
        *_sections(_models_of(registration)),
    ]
    return "\n".join(parts)


def _named(*models: type[WireModel]) -> dict[str, type[WireModel]]:
    return {model.__name__: model for model in models}


def _models_of(module: types.ModuleType) -> dict[str, type[WireModel]]:
    """The public models that a module defines, in its order."""
    found = (value for name, value in vars(module).items() if isinstance(value, type) and name[0] != "_")
    return _named(*(each for each in found if issubclass(each, WireModel) and each.__module__ == module.__name__))


def _sections(models: Mapping[str, type[WireModel]], mark: str = "") -> Iterator[str]:
    """A section a model; `mark` is the field that tells it from the others of its table."""
    for name, model in models.items():
        yield _object(name, model, more=((mark, f"`{name}`"),) if mark else ())


def _object(name: str, model: type[WireModel], *, more: Iterable[tuple[str, str]] = ()) -> str:
    rows = [(f"`{field}`", type_, "required", "") for field, type_ in more]
    rows += [_field(field.alias or key, field) for key, field in model.model_fields.items()]
    return f"### {name}\n\n{_words(model)}\n\n{_table(('Field', 'Type', 'Default', 'Bounds and meaning'), rows)}"


def _field(name: str, field: FieldInfo) -> tuple[str, str, str, str]:
    words, rules = _type(Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation)
    if field.is_required() and types.NoneType in get_args(field.annotation):
        words += " or null"
    meaning = ". ".join(part for part in ("; ".join(rules), field.description or "") if part)
    return f"`{name}`", words, _default(field), f"{meaning[:1].upper()}{meaning[1:]}"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None:
        return "absent"
    if isinstance(value, WireModel):
        return "`{}`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return {(): "`[]`", "": "empty"}.get(value, f"`{value}`") if not isinstance(value, dict) else "`{}`"


def _type(annotation: Any) -> tuple[str, list[str]]:
    """What an annotation allows: its type in words, and its bounds."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        words, rules = _type(arguments[0])
        return words, [*rules, *(rule for each in arguments[1:] for rule in _rules(each))]
    if origin in (Union, types.UnionType):
        [inner] = [each for each in arguments if each is not types.NoneType]
        return _type(inner)
    if origin is Literal:
        return ", ".join(f"`{each}`" for each in arguments), []
    if origin is tuple:
        words, rules = _type(arguments[0])
        return f"list of {words}", [f"each {rule}" for rule in rules]
    if origin is dict:
        return ("object" if arguments[1] is Any else f"object of {_type(arguments[1])[0]}"), []
    if isinstance(annotation, type) and issubclass(annotation, WireModel):
        return f"[{annotation.__name__}](#{annotation.__name__.lower()})", []
    return SCALARS[annotation], []


def _rules(mark: Any) -> Iterator[str]:
    """What a mark of an annotation says of its values."""
    if isinstance(mark, FieldInfo):
        for inner in mark.metadata:
            yield from _rules(inner)
    elif isinstance(mark, MaxLen):
        yield f"at most {mark.max_length:,} of them"
    elif isinstance(mark, MinLen):
        yield f"at least {mark.min_length:,} of them"
    elif (check := getattr(mark, "func", None)) is not None and check.__doc__:
        yield check.__doc__.splitlines()[0].removesuffix(".")


def _codes(codes: type[Enum], head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    return f"### {codes.__name__}\n\n{_words(codes)}\n\n{_table(head, rows)}"


def _words(documented: type) -> str:
    return " ".join(inspect.cleandoc(documented.__doc__ or "").split())


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *(tuple(cell.replace("|", "\\|") for cell in row) for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
