"""What an engine loads: local paths by role, with the options to load them by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from studio_worker.wire.model_source import ModelSource


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How to load a model.

    Attributes:
        context_size: tokens of context, None for the model's own.
        flow_shift: flow shift of diffusion models.
        zero_cond_t: zero-conditioning of the timestep.
        offload_to_cpu: keep weights in RAM, compute on the device.
        chat_template_kwargs: extra values for the chat template.
        threads: CPU threads to use, None for the engine's default.
        device: ``cpu``, ``cuda:0`` …, None for the engine's default.
    """

    context_size: int | None = None
    flow_shift: float | None = None
    zero_cond_t: bool | None = None
    offload_to_cpu: bool | None = None
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    threads: int | None = None
    device: str | None = None


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model's files on this machine, present and checked.

    Attributes:
        id: the model id of the claim.
        source: the claim's `ModelSource`, None for a local job without one.
        files: role to paths, in the claim's order.
        options: how to load them.
        dir: a folder that holds the files under the names that the claim gave them; None without files, or where
            they lie in several folders.
    """

    id: str
    source: ModelSource | None = None
    files: Mapping[str, list[Path]] = field(default_factory=dict)
    options: LoadOptions = LoadOptions()
    dir: Path | None = None
