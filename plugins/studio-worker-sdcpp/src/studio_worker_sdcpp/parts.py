"""A claim's files by the parts of a diffusion model that they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from studio_worker import EngineError
from studio_worker_sdcpp.weights import check_weights, encoder_slot

ROLES = ("diffusion-model", "model", "text-encoder", "text-encoder-vision", "vae", "lora")
"""The roles of `modelSource.files` that are known here."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a model is made of.

    Attributes:
        paths: the library's name of a part (``diffusion_model``, ``t5xxl``, ``vae`` …) to its file.
        loras: the names that a prompt may use to the files, with and without the ending.
    """

    paths: Mapping[str, Path]
    loras: Mapping[str, Path]


def model_parts(files: Mapping[str, list[Path]]) -> Parts:
    """Sort a claim's files.

    Text encoders are told apart by what is in them: T5, CLIP-L, CLIP-G or a language model. A second diffusion model
    whose name holds ``high`` and ``noise`` is Wan's; a ``vae`` whose name starts with ``tae`` is a tiny autoencoder.

    Raises:
        EngineError: a role is not known, a part is there twice, none at all, or is no weight file; never retried.
    """
    unknown = sorted(role for role in files if role not in ROLES and files[role])
    if unknown:
        raise EngineError(
            f"sd-cpp does not know the file role {unknown[0]}; it knows {', '.join(ROLES)}", retryable=False
        )
    paths: dict[str, Path] = {}
    for role in ROLES[:-1]:
        for path in files.get(role, []):
            check_weights(path)
            part = _part(role, path)
            if part in paths:
                raise EngineError(
                    f"the modelSource has two files for one part: {paths[part].name} and {path.name} ({part})",
                    retryable=False,
                )
            paths[part] = path
    if "model" not in paths and "diffusion_model" not in paths:
        raise EngineError("modelSource has no diffusion-model / model file", retryable=False)
    return Parts(paths, _lora_names(files.get("lora", [])))


def _part(role: str, path: Path) -> str:
    name = path.name.lower()
    if role == "text-encoder":
        return encoder_slot(path)
    if role == "text-encoder-vision":
        return "clip_vision" if encoder_slot(path) == "clip_vision" else "llm_vision"
    if role == "diffusion-model":
        return "high_noise_diffusion_model" if "high" in name and "noise" in name else "diffusion_model"
    if role == "vae":
        return "taesd" if name.startswith("tae") else "vae"
    return role


def _lora_names(paths: list[Path]) -> dict[str, Path]:
    """Whole names always; names without the ending where only one file has it."""
    for path in paths:
        check_weights(path)
    stems = Counter(path.stem for path in paths)
    names = {path.stem: path for path in paths if stems[path.stem] == 1}
    return names | {path.name: path for path in paths}
