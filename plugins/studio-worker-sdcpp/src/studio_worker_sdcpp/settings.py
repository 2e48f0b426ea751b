"""What the operator set in ``[plugins.sdcpp]``, checked key by key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How models are loaded and run, unless a job's load options say otherwise.

    Attributes:
        threads: the most CPU threads, within the engine's share of the cores; None for all of that.
        flash_attention: compute attention in pieces: much less memory, and faster on GPUs.
        vae_tiling: decode large pictures tile by tile: less memory, slower, seams are possible.
        vae_on_cpu: keep the autoencoder in RAM.
        text_encoder_on_cpu: keep CLIP text encoders in RAM.
        mmap: map model files into memory instead of reading them.
        max_vram_gb: split the work so that it fits into so many GiB; 0 for no limit.
        previews: send small pictures while a job runs.
        max_frames: the most frames that one video may have.
    """

    threads: int | None = None
    flash_attention: bool = True
    vae_tiling: bool = False
    vae_on_cpu: bool = False
    text_encoder_on_cpu: bool = False
    mmap: bool = False
    max_vram_gb: float = 0.0
    previews: bool = True
    max_frames: int = 241

    _WHOLE: ClassVar[tuple[str, ...]] = ("threads", "max_frames")

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Settings:
        """The settings of a plugin table.

        Raises:
            ValueError: names the key, what it must be and what it is.
        """
        known = [field.name for field in fields(cls)]
        for name, value in table.items():
            if name not in known:
                near = get_close_matches(name, known, 1)
                raise ValueError(
                    f"plugins.sdcpp.{name} is not known; " + (f"did you mean {near[0]}?" if near else ", ".join(known))
                )
            if name in cls._WHOLE:
                if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 10_000:
                    raise ValueError(f"plugins.sdcpp.{name} must be a whole number from 1 to 10000, not {value!r}")
            elif name == "max_vram_gb":
                if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 10_000:
                    raise ValueError(f"plugins.sdcpp.{name} must be a number of GiB, 0 for no limit, not {value!r}")
            elif not isinstance(value, bool):
                raise ValueError(f"plugins.sdcpp.{name} must be true or false, not {value!r}")
        return cls(**table)
