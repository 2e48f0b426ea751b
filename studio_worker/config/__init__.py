"""The operator's settings: file < environment < arguments; the file keeps its comments."""

from studio_worker.config.fields import BadSetting
from studio_worker.config.model import Config
from studio_worker.config.source import ConfigSource

__all__ = ["BadSetting", "Config", "ConfigSource"]
