"""Virtual environments and wheels, made on this machine without any package index."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import studio_worker

NEEDED = (
    "annotated_types",
    "filelock",
    "loguru",
    "pluggy",
    "psutil",
    "pydantic",
    "pydantic_core",
    "typing_extensions",
    "typing_inspection",
)
"""What a child of an engine imports besides this package."""

ENGINE = """
from studio_worker import Engine, EngineCapabilities, LlmResult, TaskKind, hookimpl


class Mine(Engine):
    name = "{name}"

    def capabilities(self):
        return EngineCapabilities({{TaskKind.LLM: ["{name}:*"]}})

    def run(self, job):
        {body}


def say(job, text):
    usage = {{"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}
    choice = {{"index": 0, "message": {{"role": "assistant", "content": text}}, "finish_reason": "stop"}}
    return LlmResult({{"object": "chat.completion", "model": job.model, "choices": [choice], "usage": usage}})


@hookimpl
def studio_worker_engines(config):
    return [Mine()]
"""


class OwnEnvironments:
    """Makes environments, wheels, and installs the one into the other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.wheels = folder / "wheels"
        self.wheels.mkdir(parents=True)

    def make(self, name: str, *, has_worker: bool = True) -> Path:
        """A virtual environment that sees this package, and what its children import, by links."""
        home = self.folder / name
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True, timeout=60)
        if has_worker:
            self.link_worker(home)
        return home

    def link_worker(self, home: Path) -> None:
        """Let the environment see this package and what its children import."""
        self.link(home, "studio_worker", Path(studio_worker.__file__).parent)
        for module in NEEDED:
            spec = find_spec(module)
            assert spec is not None
            assert spec.origin is not None
            origin = Path(spec.origin)
            self.link(home, module, origin.parent if spec.submodule_search_locations else origin)

    @staticmethod
    def site(home: Path) -> Path:
        (found,) = home.glob("lib/python*/site-packages")
        return found

    def link(self, home: Path, module: str, target: Path) -> None:
        """Let the environment find a module where this one has it."""
        (self.site(home) / f"{module}{'' if target.is_dir() else '.py'}").symlink_to(target)

    def wheel(
        self, name: str, version: str, source: str, *, requires: tuple[str, ...] = (), entry_points: str = ""
    ) -> None:
        """A wheel of one module, called as the distribution."""
        module = name.replace("-", "_")
        info = f"{module}-{version}.dist-info"
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        files = {
            f"{module}.py": source,
            f"{info}/METADATA": metadata + "".join(f"Requires-Dist: {need}\n" for need in requires),
            f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            f"{info}/entry_points.txt": entry_points,
        }
        record = "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"])
        with zipfile.ZipFile(self._wheel(name, version), "w") as archive:
            for file, text in {**files, f"{info}/RECORD": record}.items():
                archive.writestr(file, text)

    def plugin(self, name: str, body: str, *, requires: tuple[str, ...] = (), version: str = "1.0") -> None:
        """The wheel of a plugin of one engine, both called `name`, whose `run` is `body`."""
        module = f"plugin_{name}".replace("-", "_")
        entry_points = f"[studio_worker]\n{name} = {module}\n"
        source = ENGINE.format(name=name, body=body)
        self.wheel(module.replace("_", "-"), version, source, requires=requires, entry_points=entry_points)

    def pip(self, home: Path, *requirements: str) -> subprocess.CompletedProcess[str]:
        """Have pip install wheels made here, with what they require; whether that worked is its status."""
        pip = [sys.executable, "-m", "pip", "--python", str(home / "bin" / "python"), "--disable-pip-version-check"]
        options = ["--no-index", "--find-links", str(self.wheels), "--no-compile"]
        return subprocess.run(
            [*pip, "install", *options, *requirements], check=False, capture_output=True, text=True, timeout=60
        )

    def unpack(self, home: Path, name: str, version: str = "1.0") -> None:
        """Put one wheel made here into an environment: what pip does, in a hundredth of the time."""
        with zipfile.ZipFile(self._wheel(name, version)) as archive:
            archive.extractall(self.site(home))
        (self.site(home) / "__pycache__").mkdir(exist_ok=True)

    def _wheel(self, name: str, version: str) -> Path:
        return self.wheels / f"{name.replace('-', '_')}-{version}-py3-none-any.whl"

    def serving(self, name: str, body: str = 'return say(job, "{0}")', **wheel: tuple[str, ...]) -> Path:
        """An environment `name` with a plugin of that name."""
        self.plugin(name, body.format(name), **wheel)
        home = self.make(name)
        self.unpack(home, f"plugin-{name}")
        return home
