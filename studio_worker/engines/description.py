"""What the worker knows of an engine: who made it, what it serves, whether it can run here."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast, get_args

from pydantic import TypeAdapter, ValidationError

from studio_worker.engines.base import Isolation
from studio_worker.engines.needs import PLATFORMS, GpuVendor, Needs
from studio_worker.engines.self_report import MAX_ENGINES, MAX_MODELS
from studio_worker.text import escape
from studio_worker.version import API_VERSION
from studio_worker.wire.kinds import TaskKind
from studio_worker.wire.model_source import SourceId

if TYPE_CHECKING:
    from studio_worker.engines.certificates import Standing

SYNTHETIC = "synthetic"
"""The source id, and the name, that belong to the built-in engine alone."""

MAX_MODEL_ID = 512
MAX_CONCURRENCY = 64

Status: TypeAlias = Literal["available", "unavailable", "disabled", "broken"]

_SOURCE_ID = TypeAdapter[str](SourceId)


@dataclass(frozen=True, kw_only=True)
class EngineDescription:
    """One engine, as it was described; no object of the engine is held.

    Attributes:
        name: how people call it; for a plugin that could not be described, the plugin's name.
        distribution: the package that brought it; empty for an object that an embedder gave.
        version: that package's version.
        plugin: the entry point's name; empty for an object that an embedder gave.
        entry_point: that entry point's value, ``package.module``.
        sources: the ModelSource.engine ids that it serves.
        isolation: where it asks to run.
        concurrency: how many jobs it can run at once.
        api_version: the plugin API that it was written for.
        deterministic: the same job with the same seed gives the same bytes.
        models: kind to advertised model ids.
        status: only ``available`` engines are routed to and advertised.
        reason: why it is not available; escaped.
        remedy: what to do about it; escaped.
        position: which of its plugin's engines it is, from 0.
        hooks: the job hooks that its plugin implements.
        certificate: what its package's certificate is worth; None where there is none.
        environment: the environment of its own that it runs from, by the operator's name; empty: the worker's.
        python: that environment's interpreter.
        path: where that interpreter imports from.
        needs: what the machine must have for it.
        deprecated: what it uses of the plugin API that is on its way out, a sentence each.
    """

    name: str
    distribution: str = ""
    version: str = ""
    plugin: str = ""
    entry_point: str = ""
    sources: tuple[str, ...] = ()
    isolation: Isolation = "process"
    concurrency: int = 1
    api_version: int = API_VERSION
    deterministic: bool = False
    models: Mapping[TaskKind, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}), hash=False)
    status: Status = "available"
    reason: str = ""
    remedy: str = ""
    position: int = 0
    hooks: tuple[str, ...] = ()
    certificate: Standing | None = None
    environment: str = ""
    python: str = ""
    path: tuple[str, ...] = ()
    needs: Needs | None = None
    deprecated: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, str, str, int]:
        """What tells it from every other engine of this worker."""
        return (self.distribution, self.plugin, self.environment, self.position)

    @property
    def kinds(self) -> tuple[TaskKind, ...]:
        """The kinds of job that it serves."""
        return tuple(self.models)

    @property
    def is_synthetic(self) -> bool:
        """Whether it is the built-in engine that makes placeholder bytes."""
        return SYNTHETIC in self.sources

    @property
    def label(self) -> str:
        """The engine with its package, and the environment where it has its own, for sentences."""
        package = f"{self.distribution} {self.version}".strip()
        origin = [package, f"environment {self.environment!r}" if self.environment else ""]
        more = ", ".join(filter(None, origin))
        return f"{self.name!r} ({more})" if more else f"{self.name!r}"

    def to_json(self) -> dict[str, Any]:
        """One entry of ``engines list --json``."""
        return {
            "name": self.name,
            "distribution": self.distribution,
            "version": self.version,
            "sources": list(self.sources),
            "kinds": [kind.value for kind in self.kinds],
            "isolation": self.isolation,
            "status": self.status,
            "reason": self.reason,
            "certificate": None if self.certificate is None else self.certificate.to_json(),
        }


class BadReport(ValueError):
    """An engine's report breaks a rule; the message is the rule, for people.

    Args:
        rule: the sentence.
        remedy: what to do about it, where that is more than mending the engine.
    """

    def __init__(self, rule: str, remedy: str = "") -> None:
        super().__init__(rule)
        self.remedy = remedy


def read_reports(
    reports: Sequence[Any], owner: EngineDescription, *, is_builtin: bool = False
) -> tuple[EngineDescription, ...]:
    """The engines of one plugin. A report that breaks a rule gives a broken engine; the others stand.

    Args:
        reports: what `self_report.report_of` made, one an engine; believed in nothing.
        owner: distribution, version, plugin and hooks, which every engine of the plugin shares.
        is_builtin: whether it is our own plugin, which alone may serve ``synthetic``.
    """
    if len(reports) > MAX_ENGINES:
        return (broken(owner, f"returned more than {MAX_ENGINES} engines"),)
    found: list[EngineDescription] = []
    for position, report in enumerate(reports):
        here = replace(owner, position=position)
        try:
            engine = _read(report, here, is_builtin)
            if any(engine.name == other.name for other in found):
                raise BadReport(f"two engines of this plugin are called {engine.name!r}")
        except BadReport as problem:
            engine = broken(here, str(problem), problem.remedy)
        found.append(engine)
    return tuple(found)


def broken(owner: EngineDescription, reason: str, remedy: str = "") -> EngineDescription:
    """`owner` as an engine that cannot be used because of a fault of its own."""
    return replace(
        owner,
        status="broken",
        reason=escape(reason, limit=500),
        remedy=escape(remedy, limit=500),
        sources=(),
        models=MappingProxyType({}),
    )


def disable(descriptions: Iterable[EngineDescription], names: Collection[str]) -> tuple[EngineDescription, ...]:
    """The same engines, with those disabled that the operator names by engine, plugin, distribution or environment."""
    return tuple(
        replace(engine, status="disabled", reason="disabled_engines names it", remedy="")
        if {engine.name, engine.plugin, engine.distribution, engine.environment} & set(names) - {""}
        else engine
        for engine in descriptions
    )


def _read(report: Any, owner: EngineDescription, is_builtin: bool) -> EngineDescription:
    if not isinstance(report, dict):
        raise BadReport("its description is not an object")
    name = _name(report.get("name"))
    asked = report.get("api_version")
    if isinstance(asked, bool) or not isinstance(asked, int):
        raise BadReport(
            f"engine {name!r} has the api_version {_shown(asked)}; the whole number {API_VERSION} is needed"
        )
    if asked != API_VERSION:
        raise BadReport(
            f"engine {name!r} is written for plugin API {asked!r}, this worker serves {API_VERSION}",
            _how_to_agree(asked, owner),
        )
    sources = _sources(name, report.get("sources"))
    if not is_builtin and SYNTHETIC in (name, *sources):
        raise BadReport(f"engine {name!r} claims 'synthetic', which belongs to the built-in engine")
    isolation = _isolation(name, report.get("isolation"))
    if owner.environment and isolation != "process":
        raise BadReport(
            f"engine {name!r} asks for isolation {isolation!r}, which is inside the worker, and from an environment of "
            "its own an engine runs in a process: install it beside the worker, or have it say isolation = 'process'"
        )
    concurrency = report.get("concurrency")
    if not isinstance(concurrency, int) or isinstance(concurrency, bool) or not 1 <= concurrency <= MAX_CONCURRENCY:
        raise BadReport(f"engine {name!r} needs a concurrency from 1 to {MAX_CONCURRENCY}")
    status, reason, remedy = _status(report.get("unavailable"))
    return replace(
        owner,
        name=name,
        sources=sources,
        isolation=isolation,
        concurrency=concurrency,
        deterministic=report.get("deterministic") is True,
        models=_models(name, report.get("models")),
        status=status,
        reason=reason,
        remedy=remedy,
        needs=_needs(name, report.get("needs")),
        deprecated=_deprecated(report.get("deprecated")),
    )


def _how_to_agree(asked: Any, owner: EngineDescription) -> str:
    """Which of the two is to be updated."""
    if isinstance(asked, int) and asked > API_VERSION:
        return "update the worker: pip install --upgrade studio-worker"
    if not owner.distribution:
        return f"write it for plugin API {API_VERSION}"
    where = f" --python {owner.python}" if owner.python else ""
    return f"update the plugin: pip{where} install --upgrade {owner.distribution}"


def _name(name: Any) -> str:
    if not isinstance(name, str):
        raise BadReport(f"an engine has the name {_shown(name)}; a text is needed")
    if not name.strip():
        raise BadReport("an engine has no name; set `name`")
    if len(name) > 64 or escape(name) != name or name != name.strip():
        raise BadReport(f"the engine name {name[:80]!r} is not plain text of at most 64 characters")
    return name


def _sources(name: str, sources: Any) -> tuple[str, ...]:
    if not isinstance(sources, list) or len(sources) > MAX_ENGINES:
        what = _shown(sources) if not isinstance(sources, list) else f"more than {MAX_ENGINES}"
        raise BadReport(f"engine {name!r} has the sources {what}; a short tuple of source ids is needed")
    for source in sources or [name]:
        try:
            _SOURCE_ID.validate_python(source, strict=True)
        except ValidationError:
            raise BadReport(
                f"engine {name!r} has the source id {_shown(source)}; ASCII letters, digits and . _ - are allowed"
            ) from None
    return tuple(dict.fromkeys(sources or [name]))


def _isolation(name: str, isolation: Any) -> Isolation:
    match isolation:
        case "process" | "thread" | "loop":
            return cast("Isolation", isolation)
        case _:
            raise BadReport(
                f"engine {name!r} has isolation {_shown(isolation)}; 'process', 'thread' or 'loop' is needed"
            )


def _shown(value: Any) -> str:
    """A value of a report; in the place of one that JSON cannot carry stands its type."""
    return f"of type {value['type']}" if isinstance(value, dict) and "type" in value else repr(value)[:100]


def _needs(name: str, needs: Any) -> Needs | None:
    """What it needs; an older release in an environment of its own says nothing of that."""
    if needs is None:
        return None
    if not isinstance(needs, dict) or "type" in needs:
        raise BadReport(f"engine {name!r} needs a machine {_shown(needs)}; Needs(…) or None is needed")
    gpu, platforms = needs.get("gpu"), needs.get("platforms")
    if gpu not in (None, *get_args(GpuVendor)):
        raise BadReport(
            f"engine {name!r} needs the GPU {_shown(gpu)}; {', '.join(get_args(GpuVendor))} or None is needed"
        )
    sizes = [needs.get(key) for key in ("vram_bytes", "ram_bytes")]
    if not all(isinstance(size, int) and not isinstance(size, bool) and size >= 0 for size in sizes):
        raise BadReport(f"engine {name!r} needs {' and '.join(map(_shown, sizes))} bytes; whole numbers are needed")
    if not isinstance(platforms, list):
        raise BadReport(f"engine {name!r} needs the platforms {_shown(platforms)}; a tuple is needed")
    for platform in platforms:
        if platform not in list(PLATFORMS):
            raise BadReport(
                f"engine {name!r} needs the platform {_shown(platform)}; `sys.platform` says {', '.join(PLATFORMS)}"
            )
    return Needs(gpu=gpu, vram_bytes=sizes[0] or 0, ram_bytes=sizes[1] or 0, platforms=tuple(platforms))


def _deprecated(said: Any) -> tuple[str, ...]:
    sentences = said[:MAX_ENGINES] if isinstance(said, list) else []
    return tuple(escape(each, limit=300) for each in sentences if isinstance(each, str))


def _models(name: str, models: Any) -> Mapping[TaskKind, tuple[str, ...]]:
    if not isinstance(models, dict) or not all(isinstance(ids, list) for ids in models.values()):
        raise BadReport(
            f"capabilities() of engine {name!r} returned a value {_shown(models)}; "
            "EngineCapabilities({TaskKind.LLM: ['an-id']}) is needed"
        )
    if sum(map(len, models.values())) > MAX_MODELS:
        raise BadReport(f"engine {name!r} advertises more than {MAX_MODELS:,} models")
    found: dict[TaskKind, tuple[str, ...]] = {}
    for kind, ids in models.items():
        if kind not in TaskKind.__members__.values():
            raise BadReport(f"engine {name!r} serves the kind {kind!r}; known are {', '.join(TaskKind)}")
        for model in ids:
            _check_model_id(name, model)
        found[TaskKind(kind)] = tuple(dict.fromkeys(ids))
    if not found:
        raise BadReport(f"engine {name!r} serves no kind of job")
    return MappingProxyType(found)


def _check_model_id(name: str, model: Any) -> None:
    if not isinstance(model, str):
        raise BadReport(f"engine {name!r} advertises a model id {_shown(model)}; a text is needed")
    if not model.strip() or len(model) > MAX_MODEL_ID:
        raise BadReport(f"engine {name!r} advertises a model id that is empty or over {MAX_MODEL_ID} characters")
    if model.strip() == "*":
        raise BadReport(f"engine {name!r} advertises '*'; a label such as '{name}:*' says who serves it")
    if escape(model, limit=MAX_MODEL_ID) != model:
        raise BadReport(f"engine {name!r} advertises {model[:80]!r}, which holds control or invisible characters")


def _status(unavailable: Any) -> tuple[Status, str, str]:
    if unavailable is None:
        return "available", "", ""
    words = unavailable if isinstance(unavailable, dict) else {}
    return (
        "unavailable",
        escape(str(words.get("reason", "")) or "it gives no reason", limit=500),
        escape(str(words.get("remedy", "")), limit=500),
    )
