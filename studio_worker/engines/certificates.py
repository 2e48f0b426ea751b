"""Certificates of conformance: this content of a package passed the kit, says whoever made the file.

Danger: a certificate is a file that anybody may write; it is no signature and proves nothing about its maker. So it is
believed only about content that is here and hashes to what it says, its size and shape are bounded, and whatever is
wrong with one has a word of its own (`Standing.word`).
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from studio_worker.engines.entry_points import canonical
from studio_worker.errors import PluginError
from studio_worker.private_file import reason
from studio_worker.text import escape
from studio_worker.wire.strict_json import NotJson, loads

SCHEMA = 1
"""The form of certificates that is written, and the newest that is read."""

ESSENTIAL = "every-kind-runs"
"""The rule without which nothing is shown: an engine whose jobs were not run has not passed."""

MAX_BYTES = 1024 * 1024
MAX_FILES = 1_000
"""Files of the folder that are looked at."""

Word: TypeAlias = Literal["valid", "failed", "stale", "newer", "unreadable"]

_Name = Annotated[str, Field(min_length=1, max_length=200)]
_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False, hide_input_in_errors=True)


class CertifiedRule(_Part):
    """How one rule went."""

    rule: _Name
    outcome: Literal["passed", "failed", "skipped"]
    message: Annotated[str, Field(max_length=8_000)]
    secs: Annotated[float, Field(ge=0)]


class CertifiedEngine(_Part):
    """The rules on one engine."""

    name: _Name
    rules: Annotated[tuple[CertifiedRule, ...], Field(max_length=500)]

    @property
    def failures(self) -> tuple[str, ...]:
        """The rules that failed."""
        return tuple(rule.rule for rule in self.rules if rule.outcome == "failed")

    @property
    def is_proven(self) -> bool:
        """Whether its jobs were run, and came out well."""
        return any(rule.rule == ESSENTIAL and rule.outcome == "passed" for rule in self.rules)


class Certificate(_Part):
    """One certificate.

    Attributes:
        schema_version: `SCHEMA`; ``schema`` in the file.
        distribution: the package.
        version: its version.
        kit_version: the set of rules.
        api_version: the plugin API that was checked for.
        content_sha256: of the package's files (`installed_content`).
        wheel_sha256: of the wheel, where it was known.
        checked_at: when.
        python: the version of Python that it was checked on, for people.
        platform: the machine that it was checked on, for people.
        engines: the outcome of each rule on each engine.
    """

    model_config = ConfigDict(populate_by_name=True)

    schema_version: Literal[1] = Field(1, alias="schema")
    distribution: _Name
    version: _Name
    kit_version: _Name
    api_version: int
    content_sha256: _Sha256
    wheel_sha256: _Sha256 | None = None
    checked_at: AwareDatetime
    python: _Name
    platform: _Name
    engines: Annotated[tuple[CertifiedEngine, ...], Field(max_length=64)]

    def to_json(self) -> dict[str, Any]:
        """What the file holds."""
        return self.model_dump(mode="json", by_alias=True)

    def of_engine(self, name: str) -> CertifiedEngine | None:
        """What it says of an engine."""
        return next((engine for engine in self.engines if engine.name == name), None)


@dataclass(frozen=True, slots=True)
class Standing:
    """What a certificate is worth for one engine as it is installed here.

    Attributes:
        word: ``valid``; ``failed``: a rule failed, or its jobs were not run; ``stale``: it is about another version or
            other content; ``newer``: its form is newer than this worker; ``unreadable``: it is damaged.
        reason: why it is not valid, for people; escaped.
        path: the file.
        certificate: what it says, where it could be read.
        is_changed: whether the package's files are others than those that were checked, or hold others besides.
    """

    word: Word
    reason: str
    path: Path
    certificate: Certificate | None = None
    is_changed: bool = False

    def to_json(self) -> dict[str, Any]:
        """The entry ``certificate`` of ``engines list --json``."""
        said = self.certificate
        return {
            "status": self.word,
            "reason": self.reason,
            "file": str(self.path),
            "kit_version": said and escape(said.kit_version),
            "checked_at": said and said.checked_at.isoformat(),
            "python": said and escape(said.python),
            "platform": said and escape(said.platform),
            "wheel_sha256": said and said.wheel_sha256,
        }


class BadCertificate(PluginError):
    """A file is no certificate that this worker can use.

    Args:
        word: ``newer`` or ``unreadable``.
        problem: what is wrong with it.
        distribution: whom it is about, as far as can be told.
    """

    def __init__(self, word: Word, problem: str, distribution: str = "") -> None:
        super().__init__(problem)
        self.word: Word = word
        self.distribution = distribution


def file_name(distribution: str, version: str, environment: str = "") -> str:
    """What the certificate of a package is called in the folder; of one in an environment, by its name too."""
    words = re.sub(r"[^A-Za-z0-9.+_-]", "_", f"{version}-{environment}" if environment else version)
    return f"{canonical(distribution)}-{words}.json"


def read_certificate(path: Path) -> Certificate:
    """A certificate; nothing of it is believed but its form.

    Raises:
        BadCertificate: it cannot be read, is damaged, or is of a newer form.
    """
    try:
        data = _bytes(path)
        found = loads(data)
    except OSError as error:
        raise BadCertificate("unreadable", f"it cannot be read: {reason(error)}") from None
    except NotJson as error:
        raise BadCertificate("unreadable", f"it is damaged: {escape(str(error), limit=200)}") from None
    if not isinstance(found, dict):
        raise BadCertificate("unreadable", "it is damaged: it is no JSON object")
    distribution = found.get("distribution")
    about = distribution if isinstance(distribution, str) else ""
    schema = found.get("schema")
    if not isinstance(schema, int) or isinstance(schema, bool):
        raise BadCertificate("unreadable", "it is damaged: schema: a whole number is needed", about)
    if schema > SCHEMA:
        raise BadCertificate("newer", f"its form is {schema}, this worker reads {SCHEMA}: update studio-worker", about)
    try:
        return Certificate.model_validate_json(data)
    except ValidationError as error:
        raise BadCertificate("unreadable", f"it is damaged: {_first(error)}", about) from None


@dataclass(frozen=True, slots=True)
class FoundCertificate:
    """A file of the folder: a certificate, or what is wrong with it."""

    path: Path
    certificate: Certificate | None = None
    problem: BadCertificate | None = None

    def is_about(self, distribution: str) -> bool:
        """Whether it is a package's own: by what it says, else by its name."""
        said = self.certificate.distribution if self.certificate else self.problem.distribution if self.problem else ""
        if said:
            return canonical(said) == canonical(distribution)
        return re.match(rf"{re.escape(canonical(distribution))}(-\d|\.json$)", self.path.name) is not None


def read_folder(folder: Path) -> tuple[FoundCertificate, ...]:
    """Every certificate of a folder, by name, of the first thousand files; a folder that is not there has none."""
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix == ".json")[:MAX_FILES]
    except OSError:
        return ()
    found = []
    for path in paths:
        try:
            found.append(FoundCertificate(path, read_certificate(path)))
        except BadCertificate as problem:
            found.append(FoundCertificate(path, problem=problem))
    return tuple(found)


def newest_first(found: FoundCertificate) -> tuple[bool, float]:
    """A key to sort by: those that can be read by their time, the newest first, the others after them."""
    when: datetime | None = found.certificate.checked_at if found.certificate else None
    return (when is None, -(when.timestamp() if when else 0.0))


def _bytes(path: Path) -> bytes:
    # Not blocking: somebody may have put a pipe there.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    with os.fdopen(descriptor, "rb") as file:
        entry = os.fstat(file.fileno())
        if not stat.S_ISREG(entry.st_mode):
            raise BadCertificate("unreadable", "it is no regular file")
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise BadCertificate("unreadable", f"it is larger than {MAX_BYTES:,} bytes")
    return data


def _first(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    return escape(f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}", limit=300)
