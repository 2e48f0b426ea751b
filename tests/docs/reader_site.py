"""The packages of a reader's machine: those of the tests' environment, and of ours what the reader has installed."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from sysconfig import get_path

OURS = re.compile(r".*studio_worker.*|.*\.pth")


def link_packages(site: Path) -> None:
    """Let `site` have all packages of this environment but ours, which are installed into it as they are worked on."""
    for path in Path(get_path("purelib")).iterdir():
        if not OURS.fullmatch(path.name):
            (site / path.name).symlink_to(path)


def install(project: Path, site: Path) -> None:
    """As an editable install leaves a package of this repository: its name, its entry points, a path to its sources."""
    table = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    version = table.get("version")
    if version is None:
        version = re.search(r'__version__.*= "(.+)"', (project / "studio_worker" / "version.py").read_text())[1]
    name = table["name"].replace("-", "_")
    info = site / f"{name}-{version}.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {table['name']}\nVersion: {version}\n")
    points = table.get("entry-points", {})
    lines = [f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in points[group].items()) for group in points]
    (info / "entry_points.txt").write_text("\n".join(lines))
    source = project / "src" if (project / "src").is_dir() else project
    (site / f"{name}.pth").write_text(f"{source}\n")
