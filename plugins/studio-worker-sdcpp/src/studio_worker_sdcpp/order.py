"""What the library is asked to make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from studio_worker_sdcpp.prompt import Lora


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A picture or a film to make.

    Attributes:
        prompt: without LoRA tags.
        width: pixels, a multiple of 64.
        height: pixels, a multiple of 64.
        seed: 0 to 2^63 - 1.
        steps: sampling steps.
        cfg_scale: guidance; 1 for none.
        negative_prompt: what not to paint.
        sampler: its name on the command line of stable-diffusion.cpp, None for the model's own.
        flow_shift: of flow models, None for the model's own.
        loras: what to add to the weights.
        vae_tiling: decode tile by tile.
        init: an RGB picture of the size asked, to start from.
        strength: how far to go from it, 0 to 1.
        mask: grey levels of the size asked; white is painted anew.
        reference: an RGB picture of any size, for models that edit by instruction.
        frames: of a film.
    """

    prompt: str
    width: int
    height: int
    seed: int
    steps: int
    cfg_scale: float
    negative_prompt: str = ""
    sampler: str | None = None
    flow_shift: float | None = None
    loras: Sequence[Lora] = ()
    vae_tiling: bool = False
    init: Image.Image | None = None
    strength: float = 0.75
    mask: Image.Image | None = None
    reference: Image.Image | None = None
    frames: int = 1
