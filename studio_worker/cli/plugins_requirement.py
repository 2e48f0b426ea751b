"""What `plugins install` may be asked for: a package by its name, a wheel or a project folder of this machine.

The words end on an installer's command line. So nothing passes that it could take for an option, for an address, or
for more than one thing; no shell sees them at all.
"""

from __future__ import annotations

import re
import zipfile
from dataclasses import dataclass
from pathlib import Path

import click

from studio_worker.engines.entry_points import canonical
from studio_worker.private_file import reason
from studio_worker.text import escape

_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?"
_EXTRAS = rf"\[{_NAME}(?:,{_NAME})*\]"
_VERSION = r"(?:===|==|!=|~=|<=|>=|<|>)[A-Za-z0-9][A-Za-z0-9.*+!_-]{0,60}"
_PACKAGE = re.compile(rf"({_NAME})(?:{_EXTRAS})?(?:{_VERSION}(?:,{_VERSION}){{0,7}})?", re.ASCII)
_WHEEL = re.compile(r"([A-Za-z0-9_.]+)-[A-Za-z0-9_.!+]+(?:-[0-9][A-Za-z0-9_.]*)?(?:-[A-Za-z0-9_.]+){3}\.whl", re.ASCII)
_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz", ".tar.xz", ".txz", ".tlz", ".tar.lzma")

MAY_BE = "give NAME, NAME==VERSION, or the path of a .whl file or of a project's folder"


@dataclass(frozen=True, slots=True)
class Requirement:
    """One thing to install.

    Attributes:
        argument: what the installer is given.
        shown: what people are told.
        name: the package's name as indexes compare names; None for a folder, which has yet to say it.
    """

    argument: str
    shown: str
    name: str | None


def read_requirement(text: str) -> Requirement:
    """What a word of the command line asks for.

    Raises:
        click.BadParameter: it is none of the three.
    """
    shown = escape(text, limit=100)
    if "://" in text or re.match(r"\s*(git|hg|svn|bzr)\+", text) or re.search(r"\s@\s", text):
        raise _refusal(f"{shown!r} is an address: download the package, look at it, and give the path of its .whl file")
    if text.startswith((".", "/", "~")) or "/" in text or "\\" in text or text.lower().endswith(".whl"):
        return _of_path(text, shown)
    package = re.sub(r"\s*([\[\],]|[<>=!~]=?=?)\s*", r"\1", text.strip())
    found = _PACKAGE.fullmatch(package)
    if found is None or found[1].lower().endswith(_ARCHIVES):
        raise _refusal(f"{shown!r} is no package name: {MAY_BE}")
    return Requirement(package, package, canonical(found[1]))


def read_name(text: str) -> str:
    """A package's name alone, as indexes compare names. Raises click.BadParameter."""
    if not re.fullmatch(_NAME, text, re.ASCII):
        raise _refusal(f"{escape(text, limit=100)!r} is no package name: `studio-worker plugins` lists them")
    return canonical(text)


def _of_path(text: str, shown: str) -> Requirement:
    try:
        path = Path(text).expanduser().resolve(strict=True)
        is_folder = path.is_dir()
    except (OSError, ValueError, RuntimeError) as error:
        raise _refusal(f"{shown!r} cannot be used: {reason(error)}") from None
    # As an address every special character of a path is escaped; installers read brackets and semicolons in paths.
    if is_folder:
        if not any((path / name).is_file() for name in ("pyproject.toml", "setup.py")):
            raise _refusal(f"{shown!r} is no project: a folder needs a pyproject.toml")
        return Requirement(path.as_uri(), str(path), None)
    wheel = _WHEEL.fullmatch(path.name)
    if wheel is None:
        raise _refusal(f"{shown!r} is no wheel: {MAY_BE}")
    if not zipfile.is_zipfile(path):
        raise _refusal(f"{shown!r} is damaged: a wheel is a zip file, which this is not")
    return Requirement(path.as_uri(), str(path), canonical(wheel[1]))


def _refusal(sentence: str) -> click.BadParameter:
    return click.BadParameter(sentence)
