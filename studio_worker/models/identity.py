"""What makes two loads of a model the same, so that one that is warm is used again and no other is."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from studio_worker.models.files import ModelFiles

LOAD_OPTIONS = ("context_size", "flow_shift", "zero_cond_t", "offload_to_cpu", "threads", "device")
"""The options that a load depends on. Values for a chat template are none: they come with each job."""


@dataclass(frozen=True, slots=True)
class ModelMark:
    """A model as `load` sees it: two with one `identity` are the same load. `size_bytes` is that of all files."""

    identity: str
    size_bytes: int


def mark_of(model: ModelFiles) -> ModelMark:
    """The mark of a model: id, files with size, time and declared hash, and the options of a load.

    Reads the files' metadata, so it belongs in a thread.

    Raises:
        OSError: a file is gone.
    """
    size = 0
    files = []
    for role, paths in model.files.items():
        for path in paths:
            entry = path.stat()
            size += entry.st_size
            files.append((role, str(path), entry.st_size, entry.st_mtime_ns))
    hashes = [file.sha256 for file in model.source.files] if model.source else []
    options = [getattr(model.options, name) for name in LOAD_OPTIONS]
    text = json.dumps([model.id, files, hashes, str(model.dir), options], default=str)
    return ModelMark(hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest(), size)
