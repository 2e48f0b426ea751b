"""The kit for tests of workers and engines: a conformance suite, a studio that follows a script, claims, a clock.

Every name is loaded when it is first used; pytest is needed for `EngineConformance` alone.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from studio_worker.testing.claims import claim, image_claim, llm_claim, stt_claim, tts_claim, video_claim
    from studio_worker.testing.clocks import HandClock
    from studio_worker.testing.conformance.catalogue import RULES
    from studio_worker.testing.conformance.check import check_engine, check_plugin
    from studio_worker.testing.conformance.limits import Limits
    from studio_worker.testing.conformance.report import EngineReport, Outcome, Report, RuleReport
    from studio_worker.testing.conformance.rule import Rule
    from studio_worker.testing.conformance.samples import Sample, read_samples, shipped_samples
    from studio_worker.testing.conformance.suite import EngineConformance
    from studio_worker.testing.devices import FakeDevices
    from studio_worker.testing.scripted_studio import ScriptedStudio

_HOMES = {
    "studio_worker.testing.claims": ("claim", "image_claim", "llm_claim", "stt_claim", "tts_claim", "video_claim"),
    "studio_worker.testing.clocks": ("HandClock",),
    "studio_worker.testing.conformance.catalogue": ("RULES",),
    "studio_worker.testing.conformance.check": ("check_engine", "check_plugin"),
    "studio_worker.testing.conformance.limits": ("Limits",),
    "studio_worker.testing.conformance.report": ("EngineReport", "Outcome", "Report", "RuleReport"),
    "studio_worker.testing.conformance.rule": ("Rule",),
    "studio_worker.testing.conformance.samples": ("Sample", "read_samples", "shipped_samples"),
    "studio_worker.testing.conformance.suite": ("EngineConformance",),
    "studio_worker.testing.devices": ("FakeDevices",),
    "studio_worker.testing.scripted_studio": ("ScriptedStudio",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "RULES",
    "EngineConformance",
    "EngineReport",
    "FakeDevices",
    "HandClock",
    "Limits",
    "Outcome",
    "Report",
    "Rule",
    "RuleReport",
    "Sample",
    "ScriptedStudio",
    "check_engine",
    "check_plugin",
    "claim",
    "image_claim",
    "llm_claim",
    "read_samples",
    "shipped_samples",
    "stt_claim",
    "tts_claim",
    "video_claim",
]


def __getattr__(name: str) -> Any:
    """Load a name from its module on first use."""
    try:
        home = _HOME_OF[name]
    except KeyError:
        raise AttributeError(f"module 'studio_worker.testing' has no attribute {name!r}") from None
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The names on offer."""
    return sorted(__all__)
