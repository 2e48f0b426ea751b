"""`modelSource`: which engine serves a job, its model files and the model's own defaults (protocol section 4)."""

from __future__ import annotations

import marshal
import re
import unicodedata
from typing import Annotated, Any, TypeAlias

from pydantic import AfterValidator, Field, ValidationError, field_validator, model_validator

from studio_worker.errors import BadClaim
from studio_worker.wire.base import FreeObject, WireModel, bad_claim, bounded_text, matching, number, shown, whole
from studio_worker.wire.tasks import MAX_URL, Sampler

MAX_FILES = 64
MAX_FILE_BYTES = 2**44
MAX_NAME_BYTES = 255

SourceId: TypeAlias = Annotated[
    str,
    matching(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?", "an engine's source id: ASCII letters, digits, . _ -"),
]
Role: TypeAlias = Annotated[
    str, matching(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?", "a file role such as 'model' or 'text-encoder'")
]
Sha256: TypeAlias = Annotated[str, matching(r"[0-9a-fA-F]{64}", "64 hexadecimal digits")]

_RESERVED = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³]) *(?:\..*)?", re.IGNORECASE)

_TOO_LONG = f"is longer than {MAX_NAME_BYTES} bytes"


def plain_file_name(name: str) -> str:
    """The name itself, if it is one plain component on every system.

    Raises:
        ValueError: with the rule: separators, drives, dot names, Windows device names, control characters,
            a leading dash or dot, an ending in dot, space or `.part`, more than 255 bytes.
    """
    if len(name) > MAX_NAME_BYTES:
        raise ValueError(_TOO_LONG)
    if not name or name.strip(". ") == "":
        raise ValueError("is empty or only dots")
    if any(char in name for char in '/\\:*?"<>|'):
        raise ValueError("holds a separator, a drive or a wildcard; a plain file name is needed")
    if any(unicodedata.category(char)[0] == "C" for char in name):
        raise ValueError("holds a control or invisible character")
    if name[0] in "-.~" or name[-1] in ". ":
        raise ValueError("starts with a dash, dot or tilde, or ends in a dot or space")
    if _RESERVED.fullmatch(name):
        raise ValueError("is a reserved device name")
    if name.lower().endswith(".part"):
        raise ValueError("ends in .part, which marks a download that is not complete")
    if len(name.encode()) > MAX_NAME_BYTES:
        raise ValueError(_TOO_LONG)
    return name


class ModelFile(WireModel):
    """One file of a model: what it is for, where it comes from, and how to know it is the right one."""

    role: Role
    url: Annotated[str, bounded_text(MAX_URL)]
    filename: Annotated[str, AfterValidator(plain_file_name)]
    approx_bytes: Annotated[int, whole(0, MAX_FILE_BYTES)] | None = None
    sha256: Sha256 | None = None


class CliDefaults(WireModel):
    """The model's own defaults; 0 means none. A task's explicit value wins over them."""

    cfg_scale: Annotated[float, number(0, 100)] | None = None
    steps: Annotated[int, whole(0, 1000)] | None = None
    width: Annotated[int, whole(0, 16_384)] | None = None
    height: Annotated[int, whole(0, 16_384)] | None = None
    sampling_method: Sampler | None = None
    flow_shift: Annotated[float, number(0, 1000)] | None = None
    zero_cond_t: bool | None = None
    offload_to_cpu: bool | None = None
    context_size: Annotated[int, whole(0, 16_777_216)] | None = None
    chat_template_kwargs: FreeObject | None = None

    @field_validator("sampling_method", mode="before")
    @classmethod
    def _blank_is_absent(cls, value: Any) -> Any:
        return None if value == "" else value


class ModelSource(WireModel):
    """The engine that a job names, strictly, with the files that it needs. Engine ids and roles are open sets."""

    engine: SourceId
    files: Annotated[tuple[ModelFile, ...], Field(strict=False, max_length=MAX_FILES, fail_fast=True)] = ()
    cli_defaults: CliDefaults = CliDefaults()

    @model_validator(mode="after")
    def _one_file_a_name(self) -> ModelSource:
        seen: dict[str, ModelFile] = {}
        for index, file in enumerate(self.files):
            # Some systems know a name by neither its case nor the way in which its accents are written.
            name = unicodedata.normalize("NFC", unicodedata.normalize("NFC", file.filename).casefold())
            other = seen.setdefault(name, file)
            if other is not file and (other.url, other.sha256) != (file.url, file.sha256):
                raise BadClaim(
                    f"modelSource.files.{index}.filename", f"two different files have one name{shown(file.filename)}"
                )
        return self


MAX_KNOWN = 64
MAX_KNOWN_BYTES = 16 * 1024

_PLAIN_FORM = 2
"""Marshal's form without references: equal bytes are equal values of equal types, 1 and true apart."""

_known: dict[bytes, ModelSource] = {}
"""Sources read lately, by what was read: a worker's jobs name few models. All of them immutable to the last value."""


def parse_model_source(raw: Any) -> ModelSource:
    """The `modelSource` of a claim.

    Raises:
        BadClaim: names the field by its wire name, ``modelSource.files.0.sha256``.
    """
    if not isinstance(raw, dict):
        raise BadClaim("modelSource", "must be an object with 'engine' and 'files'")
    try:
        exact = marshal.dumps(raw, _PLAIN_FORM)
    except ValueError:
        # Nested too deeply to be told from others, or no JSON: the validation says what is wrong.
        return _validated(raw)
    if len(exact) > MAX_KNOWN_BYTES:
        return _validated(raw)
    if (source := _known.get(exact)) is None:
        source = _validated(raw)
        if source.cli_defaults.chat_template_kwargs is None:
            if len(_known) >= MAX_KNOWN:
                _known.clear()
            _known[exact] = source
    return source


def _validated(raw: dict[str, Any]) -> ModelSource:
    try:
        return ModelSource.from_wire(raw)
    except ValidationError as error:
        raise bad_claim(error, "modelSource") from None
