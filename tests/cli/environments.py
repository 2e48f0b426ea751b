"""Environments as users have them, each with a pip or without; and wheels made by hand, which takes no time."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import subprocess
import sys
import venv
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from .foxes import FOX, POINT

ROOT = Path(__file__).parents[2]
OTHERS = "llama,onnx,piper,sdcpp,whisper"
"""Plugins of the checkout, which no test of another environment is about."""


def make_wheel(
    folder: Path,
    *,
    name: str = "studio-worker-fox",
    version: str = "1.0",
    source: str = FOX,
    entry_points: str = POINT,
    requires: Sequence[str] = (),
) -> Path:
    """A wheel of one module."""
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    needed = "".join(f"Requires-Dist: {each}\n" for each in requires)
    files = {
        f"{module}.py": source,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needed}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: a test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": entry_points,
    }
    record = "".join(f"{path},sha256={_digest(text)},{len(text.encode())}\n" for path, text in files.items())
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"{module}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            archive.writestr(path, text)
    return wheel


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


def _places_of(names: Sequence[str]) -> set[Path]:
    """What lies in the site packages of some packages, and of all that they need."""
    found: set[Path] = set()
    waiting, seen = [*names], set()
    while waiting:
        name = re.split(r"[^A-Za-z0-9._-]", waiting.pop())[0].lower()
        if name in seen or not name:
            continue
        seen.add(name)
        try:
            package = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        for file in package.files or ():
            if file.parts[0] not in ("..", "__pycache__") and not file.parts[0].endswith(".pth"):
                found.add(Path(str(package.locate_file(file.parts[0]))))
        waiting += [needed for needed in package.requires or () if "extra ==" not in needed]
    return found


@dataclass
class Environment:
    """A virtual environment that sees this checkout and what it needs.

    Attributes:
        folder: where it is.
        home: the user's home.
        variables: what its programs have in their environment besides.
    """

    folder: Path
    home: Path
    variables: dict[str, str] = field(default_factory=dict)

    @classmethod
    def make(cls, folder: Path, *, having: Sequence[str] = ("pip",)) -> Environment:
        """A new one that sees the core with what it needs, and the packages in `having`; few are quickly looked at."""
        venv.create(folder / "venv", with_pip=False, symlinks=True)
        seen, home = folder / "seen", folder / "home"
        seen.mkdir()
        home.mkdir()
        for path in _places_of(["studio-worker", *having]):
            (seen / path.name).symlink_to(path)
        made = cls(folder / "venv", home)
        (made.site / "seen.pth").write_text(f"{ROOT}\n{seen}\n")
        return made

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    @property
    def site(self) -> Path:
        """Where its packages are."""
        return self.folder / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"

    def put(self, wheel: Path) -> None:
        """Install a wheel of one module, without an installer."""
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(self.site)

    def environ(self) -> Mapping[str, str]:
        """What its programs get: an empty home, no index, nothing of the developer's."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("STUDIO_WORKER_", "XDG_", "PIP_", "UV_", "PYTHON", "VIRTUAL_ENV"))
        }
        own = {
            "HOME": str(self.home),
            "PIP_NO_INDEX": "1",
            "PIP_NO_COMPILE": "1",
            "UV_OFFLINE": "1",
            "PIP_CONFIG_FILE": os.devnull,
        }
        return kept | own | {"STUDIO_WORKER_DISABLED_ENGINES": OTHERS, "COLUMNS": "200"} | self.variables

    def start(self, *args: str, stdin: int = subprocess.DEVNULL, cwd: Path | None = None) -> subprocess.Popen[str]:
        """A command line in it, with both streams to be read."""
        return subprocess.Popen(
            [self.python, "-m", "studio_worker", *args],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environ(),
            cwd=cwd or self.home,
        )

    def run(self, *args: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """A command line in it, to its end."""
        with self.start(*args, cwd=cwd) as process:
            out, err = process.communicate(timeout=60)
        return subprocess.CompletedProcess(args, process.returncode, out, err)
