"""What an installed package consists of: one hash over its listed files, and nothing else that could be run."""

from __future__ import annotations

import hashlib
import re
import stat
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata
from importlib.machinery import SOURCE_SUFFIXES
from importlib.util import source_from_cache
from pathlib import Path
from typing import Any

from studio_worker.engines.byte_code import UncheckedByteCode, foreign_byte_code
from studio_worker.engines.unlisted_files import unlisted_file
from studio_worker.private_file import reason
from studio_worker.wire.strict_json import NotJson, loads

BY_INSTALLERS = frozenset(
    {
        "RECORD",
        "RECORD.jws",
        "RECORD.p7s",
        "INSTALLER",
        "REQUESTED",
        "direct_url.json",
        "provenance_url.json",
        "uv_cache.json",
        "uv_build.json",
    }
)
"""Files of a ``.dist-info`` that no wheel brings, or that differ from machine to machine."""

_SHA256 = re.compile(r"[0-9a-f]{64}")


class NoContent(ValueError):
    """The files of a package cannot be told from others; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class InstalledContent:
    """A package as it lies here.

    Attributes:
        distribution: its name.
        version: its version.
        sha256: of its files: the SHA-256 over a line for each, by path (``<sha256>  <path>``), as `sha256sum` prints.
        wheel_sha256: of the archive that it was installed from, where the installer noted it down (PEP 610).
    """

    distribution: str
    version: str
    sha256: str
    wheel_sha256: str | None


def installed_content(distribution: str, path: Sequence[str] = (), python: str = "") -> InstalledContent:
    """The package as it lies here; reads every file of it, so it belongs in a thread.

    The same wheel gives the same hash on every machine: byte code whose source is there, start scripts and what
    installers write down are left out. What is left out, or not in the list, must not be what Python would run in place
    of the listed files: such a package has no hash.

    Args:
        distribution: its name.
        path: where its interpreter imports from; empty: this one's.
        python: that interpreter; empty: this one.

    Raises:
        NoContent: it is not installed, is worked in (an editable install), has no list of its files, one of them is
            not there, there is a module that the list does not name, or byte code that is not its source's.
    """
    try:
        package = _package(distribution, path)
        files, noted = package.files, _noted(package)
    except metadata.PackageNotFoundError:
        raise NoContent(f"{distribution} is not installed") from None
    except (OSError, ValueError) as error:
        raise NoContent(f"what {distribution} consists of cannot be read: {reason(error)}") from None
    if _part(noted, "dir_info").get("editable") is True:
        raise NoContent(f"{distribution} is installed as editable, so that its files may change: install a wheel of it")
    if not files:
        raise NoContent(f"{distribution} has no list of its files (RECORD): install a wheel of it")
    whole = hashlib.sha256()
    listed = {path.as_posix() for path in files}
    counted = {
        path.as_posix(): Path(str(package.locate_file(path))) for path in files if not _is_left_out(path, listed)
    }
    for name, file in sorted(counted.items()):
        whole.update(f"{_hash(file, name)}  {name}\n".encode())
    _refuse_other_code(distribution, Path(str(package.locate_file(""))), listed, counted.values(), python)
    return InstalledContent(distribution, package.version, whole.hexdigest(), _archive_sha256(noted))


def _package(distribution: str, path: Sequence[str]) -> metadata.Distribution:
    if not path:
        return metadata.distribution(distribution)
    found = next(iter(metadata.distributions(name=distribution, path=list(path))), None)
    if found is None:
        raise metadata.PackageNotFoundError(distribution)
    return found


def _refuse_other_code(
    distribution: str, root: Path, listed: Collection[str], files: Iterable[Path], python: str
) -> None:
    """Raise where Python would run something else than the files of the hash."""
    if (unlisted := unlisted_file(root, listed)) is not None:
        raise NoContent(
            f"the folder of {distribution} holds {unlisted}, which its list of files (RECORD) does not name and which "
            "could be imported: remove it, or install the package anew"
        )
    sources = [str(file) for file in files if file.suffix in SOURCE_SUFFIXES]
    try:
        foreign = foreign_byte_code(sources, python) if sources else None
    except UncheckedByteCode as problem:
        raise NoContent(f"the byte code of {distribution} cannot be checked: {problem}") from None
    if foreign is not None:
        raise NoContent(f"{foreign} is not what Python makes of its source: remove it, Python makes it anew")


def _hash(file: Path, path: str) -> str:
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            raise NoContent(f"{path} is no regular file")
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise NoContent(f"{path} cannot be read: {reason(error)}") from None


def _is_left_out(path: metadata.PackagePath, listed: Collection[str]) -> bool:
    folder = path.parts[-2] if len(path.parts) > 1 else ""
    return (
        _is_compiled_here(path.as_posix(), listed)
        or (folder.endswith(".dist-info") and path.name in BY_INSTALLERS)
        or (path.parts[0] == ".." and folder in ("bin", "Scripts"))
    )


def _is_compiled_here(path: str, listed: Collection[str]) -> bool:
    """Whether it is what Python makes of a module of the list; byte code without a source is what would be run."""
    try:
        return path.endswith(".pyc") and source_from_cache(path) in listed
    except ValueError:
        return False


def _noted(package: metadata.Distribution) -> dict[str, Any]:
    text = package.read_text("direct_url.json")
    try:
        found = loads(text) if text is not None else {}
    except NotJson:
        return {}
    return found if isinstance(found, dict) else {}


def _part(noted: dict[str, Any], key: str) -> dict[str, Any]:
    found = noted.get(key)
    return found if isinstance(found, dict) else {}


def _archive_sha256(noted: dict[str, Any]) -> str | None:
    found = _part(_part(noted, "archive_info"), "hashes").get("sha256")
    return found if isinstance(found, str) and _SHA256.fullmatch(found) else None
