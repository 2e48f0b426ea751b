"""A Whisper model in CTranslate2's layout, loaded once."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import faster_whisper

from studio_worker import EngineError, ModelFiles, OutOfMemory

NAMES = (
    "model.bin",
    "config.json",
    "tokenizer.json",
    "vocabulary.txt",
    "vocabulary.json",
    "preprocessor_config.json",
)
"""The files of a model's folder, as CTranslate2 and faster-whisper call them."""


@dataclass(frozen=True, slots=True)
class Model:
    """What `load` makes and `run` listens with."""

    whisper: faster_whisper.WhisperModel
    device: str
    compute_type: str

    @property
    def is_multilingual(self) -> bool:
        """Whether it knows other languages than English, and how to translate."""
        return bool(self.whisper.model.is_multilingual)

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages that it knows, as Whisper's codes."""
        return tuple(self.whisper.supported_languages)


def load_model(model: ModelFiles, *, device: str | None, compute_type: str | None) -> Model:
    """Load a model from the files of a claim.

    Args:
        model: the files; their names end in CTranslate2's (``model.bin``, ``tiny.en-model.bin``).
        device: ``cuda`` or ``cuda:1``; anything else is the CPU.
        compute_type: CTranslate2's name of the arithmetic; None for int8 on the CPU, the fastest on CUDA.

    Raises:
        EngineError: a file is missing or is none of such a model; only a failing device is worth another try.
        OutOfMemory: the model does not fit.
    """
    named = model_files(model.files)
    kind, index = place(device)
    on_cuda = kind == "cuda"
    compute_type = compute_type or ("auto" if on_cuda else "int8")
    with tempfile.TemporaryDirectory(prefix="studio-worker-whisper-") as made:
        folder = _folder(model.dir, named, Path(made))
        try:
            whisper = faster_whisper.WhisperModel(
                str(folder),
                device=kind,
                device_index=index,
                compute_type=compute_type,
                cpu_threads=model.options.threads or 0,
                local_files_only=True,
            )
        except Exception as error:
            raise failure(error, f"the Whisper model {model.id} could not be loaded", retryable=on_cuda) from error
    return Model(whisper, device=kind, compute_type=str(whisper.model.compute_type))


def place(device: str | None) -> tuple[str, int]:
    """A device as CTranslate2 calls it, ``cuda`` or ``cpu``, and its index; it knows no other kinds.

    Args:
        device: ``cpu``, ``cuda``, ``cuda:1`` …; another kind, or None, is the CPU.

    Raises:
        EngineError: the device has no number; never worth another try.
    """
    kind, colon, number = (device or "cpu").lower().partition(":")
    if kind != "cuda":
        return "cpu", 0
    if colon and not (number.isascii() and number.isdecimal() and len(number) < 4):
        raise EngineError(f"the device {device!r} has no number after its colon, as cuda:1 has", retryable=False)
    return "cuda", int(number or 0)


def model_files(files: Mapping[str, list[Path]]) -> dict[str, Path]:
    """A claim's files by the names that CTranslate2 gives them, whatever their roles.

    Raises:
        EngineError: a file that a model needs is missing; the sentence says which.
    """
    named: dict[str, Path] = {}
    for path in (path for paths in files.values() for path in paths):
        for name in NAMES:
            if path.name == name or path.name.endswith(("-" + name, "_" + name, "." + name)):
                named[name] = path
                break
    missing = [name for name in ("model.bin", "config.json", "tokenizer.json") if name not in named]
    if not any(name.startswith("vocabulary") for name in named):
        missing.append("vocabulary.txt")
    if missing:
        raise EngineError(
            f"whisper needs {', '.join(missing)} of a CTranslate2 model: add to the modelSource", retryable=False
        )
    return named


def failure(error: Exception, doing: str, *, retryable: bool) -> EngineError:
    """An error of the library as ours: out of memory where it says so."""
    if isinstance(error, MemoryError) or "out of memory" in str(error).lower() or "bad_alloc" in str(error):
        return OutOfMemory(f"{doing}: {error or 'out of memory'}")
    return EngineError(f"{doing}: {error}", retryable=retryable)


def _folder(folder: Path | None, named: Mapping[str, Path], made: Path) -> Path:
    """A folder that holds the files under CTranslate2's names; it is read while the model is loaded, no longer."""
    if folder is not None and all(path == folder / name for name, path in named.items()):
        return folder
    for name, path in named.items():
        _lend(path.resolve(), made / name)
    return made


def _lend(path: Path, name: Path) -> None:
    try:
        name.symlink_to(path)
    except OSError:
        shutil.copyfile(path, name)
