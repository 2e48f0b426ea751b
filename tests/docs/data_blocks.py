"""What a block of data must be."""

from __future__ import annotations

import io
import json
import plistlib
import re
import shutil
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from studio_worker.cli.jobs_file import job_lines
from studio_worker.config import Config
from studio_worker.config.loading import gather
from studio_worker.wire.model_source import parse_model_source

ENTRY_POINT = re.compile(r"[a-z_]\w*(\.\w+)*(:\w+)?")
UNIT_SECTIONS = {"Unit", "Service", "Install"}
INSTRUCTIONS = {"FROM", "ARG", "ENV", "RUN", "COPY", "WORKDIR", "USER", "VOLUME", "HEALTHCHECK", "ENTRYPOINT", "CMD"}


def check_toml(text: str, folder: Path) -> None:
    """A project's description, else settings: each key known, each value allowed."""
    table = tomllib.loads(text)
    if {"project", "build-system", "tool"} & table.keys():
        check_project(table)
        return
    path = folder / "config.toml"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    found = gather(Config.model_fields, path, {})
    assert not [notice for notice in found.notices if notice.is_warning], found.notices
    Config.load(path, environ={})


def check_project(table: dict[str, Any]) -> None:
    """What the packaging standards say of pyproject.toml."""
    project = table.get("project", {})
    if "name" in project:
        assert canonicalize_name(project["name"], validate=True) == project["name"]
        Version(project["version"])
    for requirement in [*project.get("dependencies", []), *table.get("build-system", {}).get("requires", [])]:
        Requirement(requirement)
    for group in project.get("entry-points", {}).values():
        assert all(ENTRY_POINT.fullmatch(value) for value in group.values()), group


def check_json(text: str, _: Path) -> None:
    """JSON, one value or one a line; a job is one that a studio takes, a model source one that a job may have."""
    rest = text.strip()
    while rest:
        value, end = json.JSONDecoder().raw_decode(rest)
        rest = rest[end:].lstrip()
        if not isinstance(value, dict):
            continue
        if "task" in value:
            assert list(job_lines(io.BytesIO(json.dumps(value).encode()), "page"))
        elif "engine" in value and "files" in value:
            parse_model_source(value)


def check_ini(text: str, folder: Path) -> None:
    """A unit of systemd, in the eyes of systemd itself where it is here; its programs are not."""
    sections = re.findall(r"^\[(\w+)\]$", text, re.MULTILINE)
    assert set(sections) <= UNIT_SECTIONS, sections
    if shutil.which("systemd-analyze") is None or "Service" not in sections:
        return
    unit = folder / "studio-worker.service"
    unit.write_text(re.sub(r"^(ExecStart|ExecStartPre)=\S+", r"\1=/bin/true", text, flags=re.MULTILINE))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, timeout=60, check=False
    )
    complaints = [line for line in done.stderr.splitlines() if "studio-worker.service" in line]
    assert not complaints, complaints


def check_xml(text: str, _: Path) -> None:
    """A property list."""
    assert "Label" in plistlib.loads(text.encode())


def check_dockerfile(text: str, _: Path) -> None:
    """Every line begins with an instruction or goes on from the one before."""
    for line in re.sub(r"\\\n", " ", text).splitlines():
        word = line.partition(" ")[0]
        assert not word or word.startswith("#") or word in INSTRUCTIONS, line


CHECKS: dict[str, Callable[[str, Path], None]] = {
    "toml": check_toml,
    "json": check_json,
    "ini": check_ini,
    "xml": check_xml,
    "dockerfile": check_dockerfile,
}
