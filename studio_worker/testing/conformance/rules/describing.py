"""Rules about what an engine says of itself, and what it costs to ask."""

from __future__ import annotations

from typing import Any

from studio_worker.engines.description import EngineDescription
from studio_worker.testing.conformance.described import Described
from studio_worker.testing.conformance.rule import BrokenRule, NotApplicable
from studio_worker.testing.conformance.trial import Trial

HEAVY = (
    "PIL",
    "aiohttp",
    "av",
    "cv2",
    "ctranslate2",
    "diffusers",
    "faster_whisper",
    "jax",
    "keras",
    "librosa",
    "llama_cpp",
    "matplotlib",
    "mlx",
    "numba",
    "numpy",
    "onnx",
    "onnxruntime",
    "openai",
    "pandas",
    "piper",
    "requests",
    "scipy",
    "sentence_transformers",
    "sklearn",
    "soundfile",
    "stable_diffusion_cpp",
    "tensorflow",
    "torch",
    "transformers",
    "vllm",
    "whisper",
)
"""Libraries that take long to import, or much memory, and have no business in a describe step."""


async def describes(trial: Trial) -> str:
    """The describe step comes to an answer."""
    if trial.described.problem:
        raise BrokenRule(
            f"the describe step gives no engine: {trial.described.problem}; importing the entry point, the hook, "
            "capabilities() and availability() must work on every machine"
        )
    return f"described within {trial.limits.describe_secs:g} s"


async def is_valid(trial: Trial) -> str:
    """The worker believes what the engine says of itself."""
    _must_be_described(trial.described)
    if trial.description.status == "broken":
        raise BrokenRule(f"the worker does not take the engine: {trial.description.reason}")
    served = f"serves {', '.join(trial.description.kinds)} as {', '.join(trial.description.sources)}"
    # The router finds such a kind by the engine's source ids, of which its name is one where it says none.
    if bare := [kind for kind, ids in trial.description.models.items() if not ids]:
        return f"{served}; no model of {', '.join(bare)} is listed, so that only jobs which name the source get there"
    return served


async def describes_alike(trial: Trial) -> str:
    """Asked again, the engine says the same."""
    described, at = trial.described, trial.description.position
    _must_bring_an_engine(described)
    told = [described.reports, described.again]
    if described.probe is not None:
        told += [described.probe["reports"], described.probe["again"]]
    for other in told[1:]:
        if len(other) != len(told[0]):
            raise BrokenRule(
                f"the hook returned {len(told[0])} engines at first and {len(other)} when asked again; return the same"
            )
        if differing := [key for key, value in told[0][at].items() if other[at][key] != value]:
            key = differing[0]
            raise BrokenRule(
                f"{key} is {_short(told[0][at][key])} at first and {_short(other[at][key])} when asked again; "
                "capabilities(), availability() and the attributes must say the same each time"
            )
    return f"asked {len(told)} times, it said the same"


async def imports_lightly(trial: Trial) -> str:
    """Importing the entry point brings no heavy library and takes no time."""
    probe = _probe(trial)
    if heavy := _heavy(probe["imported"]):
        raise BrokenRule(
            f"importing {trial.subject.value} imports {', '.join(heavy)}; import heavy libraries inside load() or run()"
        )
    if probe["import_secs"] > trial.limits.import_secs:
        raise BrokenRule(
            f"importing {trial.subject.value} takes {probe['import_secs']:.1f} s of processor time more than a bare "
            f"process, at most {trial.limits.import_secs:g} s are allowed; do that work inside load() or run()"
        )
    return f"{len(probe['imported'])} modules, {probe['import_secs'] * 1000:.0f} ms of processor time"


async def describes_lightly(trial: Trial) -> str:
    """`capabilities` and `availability` import nothing heavy."""
    probe = _probe(trial)
    if heavy := _heavy(probe["described"]):
        raise BrokenRule(
            f"capabilities() or availability() imports {', '.join(heavy)}; look with importlib.util.find_spec instead, "
            "which imports nothing"
        )
    return "capabilities() and availability() import nothing heavy"


async def says_why_not(trial: Trial) -> str:
    """An engine that cannot run says why, and what to do."""
    described, description = trial.described, trial.description
    _must_bring_an_engine(described)
    if description.status == "unavailable":
        _check_words(description, "here")
        if trial.subject.engine is not None:
            return f"it says: {description.reason}; {description.remedy}"
    if trial.subject.engine is not None:
        raise NotApplicable("the engine was given as an object, from which no library can be hidden")
    if described.probe is not None and _heavy(described.probe["imported"] + described.probe["described"]):
        raise NotApplicable("it imports its libraries to describe itself, see light-import and light-description")
    if described.hidden_problem:
        raise BrokenRule(
            f"where its libraries are not installed, the describe step fails: {described.hidden_problem}; "
            "availability() must return Unavailable(reason, remedy) there"
        )
    for report in described.hidden_reports[description.position : description.position + 1]:
        if report["unavailable"] is not None:
            missing = EngineDescription(name=trial.name, **report["unavailable"])
            _check_words(missing, "where its libraries are not installed")
            return f"where its libraries are missing it says: {missing.reason}; {missing.remedy}"
    raise NotApplicable("it says that it is available where none of the large libraries is, so that it needs none")


def _check_words(description: EngineDescription, where: str) -> None:
    if not description.reason or description.reason.startswith(("availability() ", "it gives no reason")):
        raise BrokenRule(
            f"the engine is unavailable {where} and says no proper reason ({description.reason or 'nothing'}); "
            "return Unavailable(reason, remedy)"
        )
    if not description.remedy:
        raise BrokenRule(
            f"the engine is unavailable {where} ({description.reason}) and names no remedy; say in "
            "Unavailable(reason, remedy) what to install or to do"
        )


def _probe(trial: Trial) -> dict[str, Any]:
    _must_be_described(trial.described)
    if trial.described.probe is None:
        raise NotApplicable("the engine was given as an object, so that there is no import to look at")
    return trial.described.probe


def _heavy(modules: list[str]) -> list[str]:
    return sorted({name.partition(".")[0] for name in modules} & set(HEAVY))


def _must_be_described(described: Described) -> None:
    if described.problem:
        raise NotApplicable("the engine could not be described, see describes")


def _must_bring_an_engine(described: Described) -> None:
    _must_be_described(described)
    if not described.reports:
        raise NotApplicable("the plugin brings no engine, see valid-description")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}…"
