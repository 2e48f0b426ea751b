"""Engines that the project publishes, so that a refusal can say what to install."""

from __future__ import annotations

DISTRIBUTIONS = {
    "llama-cpp": "studio-worker-llama",
    "sd-cpp": "studio-worker-sdcpp",
    "onnx": "studio-worker-onnx",
    "piper": "studio-worker-piper",
    "whisper": "studio-worker-whisper",
    "parakeet": "studio-worker-parakeet",
}
"""Source id to the distribution that serves it."""


def install_command(source_id: str) -> str | None:
    """The command that installs an engine for a source id, None where we know of none."""
    distribution = DISTRIBUTIONS.get(source_id)
    return None if distribution is None else f"pip install {distribution}"
