"""studio-worker: turn any machine into a generation node for a studio.

Every public name is exported here and loaded on first use, so that importing the package stays cheap.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from studio_worker.version import API_VERSION, __version__

if TYPE_CHECKING:
    from studio_worker.config import Config
    from studio_worker.engines.base import (
        AudioChunk,
        AudioResult,
        Available,
        Engine,
        EngineCapabilities,
        EngineJob,
        Estimate,
        ImageResult,
        JobInfo,
        LlmResult,
        Outcome,
        PluginConfig,
        Result,
        TextDelta,
        TranscriptResult,
        Unavailable,
        VideoResult,
    )
    from studio_worker.engines.hookspecs import hookimpl
    from studio_worker.engines.installed_engines import InstalledEngines
    from studio_worker.engines.needs import Needs
    from studio_worker.errors import (
        AlreadyRunning,
        AuthFailed,
        BadClaim,
        BadInput,
        Cancelled,
        ConfigError,
        DuplicateWorker,
        EngineError,
        FetchFailed,
        FetchRefused,
        JobCancelled,
        JobError,
        ModelUnavailable,
        NoEngine,
        NoRoom,
        OutOfMemory,
        PluginError,
        ReconnectBudgetSpent,
        RegistrationRejected,
        ResultRejected,
        StudioRefused,
        StudioWorkerError,
        UnsupportedTask,
        WorkerDeleted,
    )
    from studio_worker.event_bus import EventReader
    from studio_worker.events import (
        Event,
        JobAccepted,
        JobDelivered,
        JobFailed,
        JobProgress,
        RegistrationChanged,
        SessionLost,
        SessionOpened,
        WorkerEvent,
    )
    from studio_worker.local_job import Job
    from studio_worker.models.files import LoadOptions, ModelFiles
    from studio_worker.models.formats.onnx import check_onnx
    from studio_worker.wire.kinds import TaskKind
    from studio_worker.wire.model_source import ModelSource
    from studio_worker.wire.tasks import ImageTask, LlmTask, Message, SttTask, TtsTask, VideoTask
    from studio_worker.worker import Worker

if "loguru" in sys.modules:
    # Otherwise the first module that logs does it, and would undo what somebody enables before that.
    import_module("studio_worker.silence")

_HOMES = {
    "studio_worker.config": ("Config",),
    "studio_worker.engines.base": (
        "AudioChunk",
        "AudioResult",
        "Available",
        "Engine",
        "EngineCapabilities",
        "EngineJob",
        "Estimate",
        "ImageResult",
        "JobInfo",
        "LlmResult",
        "Outcome",
        "PluginConfig",
        "Result",
        "TextDelta",
        "TranscriptResult",
        "Unavailable",
        "VideoResult",
    ),
    "studio_worker.engines.hookspecs": ("hookimpl",),
    "studio_worker.engines.installed_engines": ("InstalledEngines",),
    "studio_worker.engines.needs": ("Needs",),
    "studio_worker.errors": (
        "AlreadyRunning",
        "AuthFailed",
        "BadClaim",
        "BadInput",
        "Cancelled",
        "ConfigError",
        "DuplicateWorker",
        "EngineError",
        "FetchFailed",
        "FetchRefused",
        "JobCancelled",
        "JobError",
        "ModelUnavailable",
        "NoEngine",
        "NoRoom",
        "OutOfMemory",
        "PluginError",
        "ReconnectBudgetSpent",
        "RegistrationRejected",
        "ResultRejected",
        "StudioRefused",
        "StudioWorkerError",
        "UnsupportedTask",
        "WorkerDeleted",
    ),
    "studio_worker.event_bus": ("EventReader",),
    "studio_worker.events": (
        "Event",
        "JobAccepted",
        "JobDelivered",
        "JobFailed",
        "JobProgress",
        "RegistrationChanged",
        "SessionLost",
        "SessionOpened",
        "WorkerEvent",
    ),
    "studio_worker.models.files": ("LoadOptions", "ModelFiles"),
    "studio_worker.models.formats.onnx": ("check_onnx",),
    "studio_worker.local_job": ("Job",),
    "studio_worker.wire.kinds": ("TaskKind",),
    "studio_worker.wire.model_source": ("ModelSource",),
    "studio_worker.wire.tasks": ("ImageTask", "LlmTask", "Message", "SttTask", "TtsTask", "VideoTask"),
    "studio_worker.worker": ("Worker",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "API_VERSION",
    "AlreadyRunning",
    "AudioChunk",
    "AudioResult",
    "AuthFailed",
    "Available",
    "BadClaim",
    "BadInput",
    "Cancelled",
    "Config",
    "ConfigError",
    "DuplicateWorker",
    "Engine",
    "EngineCapabilities",
    "EngineError",
    "EngineJob",
    "Estimate",
    "Event",
    "EventReader",
    "FetchFailed",
    "FetchRefused",
    "ImageResult",
    "ImageTask",
    "InstalledEngines",
    "Job",
    "JobAccepted",
    "JobCancelled",
    "JobDelivered",
    "JobError",
    "JobFailed",
    "JobInfo",
    "JobProgress",
    "LlmResult",
    "LlmTask",
    "LoadOptions",
    "Message",
    "ModelFiles",
    "ModelSource",
    "ModelUnavailable",
    "Needs",
    "NoEngine",
    "NoRoom",
    "OutOfMemory",
    "Outcome",
    "PluginConfig",
    "PluginError",
    "ReconnectBudgetSpent",
    "RegistrationChanged",
    "RegistrationRejected",
    "Result",
    "ResultRejected",
    "SessionLost",
    "SessionOpened",
    "SttTask",
    "StudioRefused",
    "StudioWorkerError",
    "TaskKind",
    "TextDelta",
    "TranscriptResult",
    "TtsTask",
    "Unavailable",
    "UnsupportedTask",
    "VideoResult",
    "VideoTask",
    "Worker",
    "WorkerDeleted",
    "WorkerEvent",
    "__version__",
    "check_onnx",
    "hookimpl",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its module on first use."""
    try:
        home = _HOME_OF[name]
    except KeyError:
        raise AttributeError(f"module 'studio_worker' has no attribute {name!r}") from None
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
