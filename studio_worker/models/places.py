"""Where model files lie below `models_root`."""

from __future__ import annotations

import re
from hashlib import sha256
from pathlib import Path

from studio_worker.wire.model_source import ModelFile


def sanitised(model: str) -> str:
    """A model id as a folder name: other characters than ``A-Z a-z 0-9 . _ -`` become ``_``, as does a first dot."""
    name = re.sub(r"[^A-Za-z0-9._-]", "_", model)[:200] or "_"
    return "_" + name[1:] if name.startswith(".") else name


def own_folder(root: Path, model: str, file: ModelFile) -> Path:
    """The folder of a file whose name another file has: the model's id, and what tells this file from others."""
    mark = sha256("\n".join((model, identity(file))).encode(errors="surrogatepass")).hexdigest()[:8]
    return root / f"{sanitised(model)}-{mark}"


def identity(file: ModelFile) -> str:
    """What tells a file from others of its name: its hash, or its address where nobody gave one."""
    return file.sha256.lower() if file.sha256 else plain_url(file.url)


def folders(root: Path, model: str, file: ModelFile) -> tuple[Path, ...]:
    """Where a file may lie: flat, in its own folder, then as the older worker laid files out."""
    name = sanitised(model)
    return (root, own_folder(root, model, file), root / name, root / "llm", root / "stt", root / "stt" / name)


def plain_url(url: str) -> str:
    """A URL without its query, where signatures live."""
    return url.split("?", 1)[0].split("#", 1)[0]
