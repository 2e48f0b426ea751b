"""Engines that pass jobs on to another server; `[plugins.bridge]` says which."""

from __future__ import annotations

from studio_worker import Engine, PluginConfig, hookimpl
from studio_worker_bridge.comfyui import ComfyUiEngine
from studio_worker_bridge.openai import OpenAiEngine


@hookimpl
def studio_worker_engines(config: PluginConfig) -> list[Engine]:
    """Both engines; one whose server is not named is shown as unavailable."""
    return [OpenAiEngine(config.plugin), ComfyUiEngine(config.plugin)]
