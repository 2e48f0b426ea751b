"""Packages with a list of their files, as pip installs them, and certificates about them."""

from __future__ import annotations

import base64
import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

SHA_OF_NOTHING = hashlib.sha256(b"").hexdigest()


def list_files(info: Path, *files: Path, installer: str = "pip") -> None:
    """Write INSTALLER and RECORD into a ``.dist-info``, over what lies in it and `files` beside it."""
    (info / "INSTALLER").write_text(f"{installer}\n")
    listed = [*files, *(path for path in info.rglob("*") if path.is_file() and path.name != "RECORD")]
    lines = [f"{path.relative_to(info.parent).as_posix()},," for path in listed]
    (info / "RECORD").write_text("\n".join([*lines, f"{info.name}/RECORD,,"]) + "\n")


def wheel(folder: Path, name: str, source: str, *, version: str = "1.0", entry_points: str = "") -> Path:
    """A wheel of one module."""
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    files = {
        f"{module}.py": source,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": entry_points,
    }
    path = folder / f"{module}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        lines = []
        for file, text in files.items():
            archive.writestr(file, text)
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
            lines.append(f"{file},sha256={digest},{len(text.encode())}")
        archive.writestr(f"{info}/RECORD", "\n".join([*lines, f"{info}/RECORD,,"]) + "\n")
    return path


def certificate(distribution: str = "fox", **fields: Any) -> dict[str, Any]:
    """A certificate whose only engine, called as its package, has passed."""
    return {
        "schema": 1,
        "distribution": distribution,
        "version": "1.0",
        "kit_version": "1",
        "api_version": 1,
        "content_sha256": SHA_OF_NOTHING,
        "checked_at": "2026-01-05T08:00:00Z",
        "python": "3.11.2",
        "platform": "Linux-6.1",
        "engines": [engine(distribution)],
        **fields,
    }


def engine(name: str, **outcomes: str) -> dict[str, Any]:
    """What a certificate says of an engine: rules by name (underscores for dashes) with their outcome."""
    given = {"every_kind_runs": "passed", **outcomes}
    rules = [
        {"rule": rule.replace("_", "-"), "outcome": outcome, "message": "it was so", "secs": 0.1}
        for rule, outcome in given.items()
    ]
    return {"name": name, "rules": rules}


def put(folder: Path, name: str, content: Any) -> Path:
    """A file in a folder that is made where it is missing; what is no text becomes JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path
