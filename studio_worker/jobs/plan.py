"""What a job will do, drawn from its claim before anything is done: pure, and wrong in one way only, a `JobError`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any, Literal, TypeAlias

from studio_worker.engines.base import JobInfo
from studio_worker.engines.router import Route, Routes
from studio_worker.errors import BadClaim
from studio_worker.jobs.local_inputs import name_inputs
from studio_worker.models.files import LoadOptions
from studio_worker.wire.claims import parse_claim
from studio_worker.wire.defaults import resolve_defaults
from studio_worker.wire.kinds import TaskKind
from studio_worker.wire.model_source import ModelSource
from studio_worker.wire.tasks import MAX_SEED, ImageTask, LlmTask, SttTask, Task, VideoTask, whole_prompt

RANDOM_SEED_BITS = 63
"""Seeds that we draw stay where every engine's integers reach; a claim's own may go to 2^64 - 1."""

MAX_PICTURE_BYTES = 64 * 1024 * 1024
MAX_AUDIO_BYTES = 512 * 1024 * 1024

DeviceChoice: TypeAlias = Callable[[str], str | None]
"""The device that the operator has set for a plugin's engines, by the plugin's name; None: the engine decides."""

InputRole: TypeAlias = Literal["image", "mask", "ref_image", "audio"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalOrder:
    """A job that somebody in this process asks for.

    Attributes:
        job_id: an id of the caller's own; keeps the id rule.
        model: the model id.
        task: what to make.
        source: which engine and files; None routes by the exact pair of kind and model.
        inputs: input files of the caller's own, by role or by the field that would name their URL.
        files: the model's files where they lie, by role, in place of those of the source.
        seed: in place of the task's own or a random one.
    """

    job_id: str
    model: str
    task: Task
    source: ModelSource | None = None
    inputs: Mapping[str, Path] = field(default_factory=dict)
    files: Mapping[str, Sequence[Path]] | None = None
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """One input to fetch. `field` is the task's field by its wire name, `path` a local caller's own file."""

    role: InputRole
    field: str
    url: str
    limit_bytes: int
    path: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A job, understood: nothing in it is looked up again.

    Attributes:
        job_id: keeps the id rule.
        model: the model id.
        task: with every default resolved.
        source: the claim's ModelSource; None for a local job without one.
        route: the engine that runs it.
        seed: the task's own, or a random one.
        options: how the model is to be loaded.
        prompt: the whole prompt, which goes with the result.
        inputs: what has to be fetched.
        attempt: the claim's attempt.
        origin: who asked.
        files: a local caller's own model files, by role; None: the source's are provisioned.
    """

    job_id: str
    model: str
    task: Task
    source: ModelSource | None
    route: Route
    seed: int
    options: LoadOptions
    prompt: str
    inputs: tuple[Wanted, ...]
    attempt: int | None = None
    origin: Literal["studio", "local"] = "studio"
    files: Mapping[str, Sequence[Path]] | None = None

    @property
    def kind(self) -> TaskKind:
        """What the job makes."""
        return self.task.kind

    @property
    def is_light(self) -> bool:
        """Whether the job runs on the loop, without input files: then microseconds count."""
        return self.route.engine.isolation == "loop" and not self.inputs

    @property
    def info(self) -> JobInfo:
        """The job as hooks see it."""
        return JobInfo(
            id=self.job_id,
            kind=self.kind,
            model=self.model,
            engine=self.route.engine.name,
            source=self.route.source_id,
            origin=self.origin,
            attempt=self.attempt,
        )


def draw(asked: dict[str, Any] | LocalOrder, routes: Routes, *, device: DeviceChoice, rng: Random) -> Plan:
    """The plan of a claim, or of a local order.

    Args:
        asked: the raw claim of an offer, or a local order.
        routes: the engines of this moment; asked once.
        device: where the operator wants the models of a plugin's engines to run.
        rng: where a seed comes from that the task does not carry.

    Raises:
        BadClaim: a field breaks the contract.
        NoEngine: nobody here serves what the job names.
        UnsupportedTask: the engine does not serve this kind.
    """
    if isinstance(asked, LocalOrder):
        if asked.seed is not None and not 0 <= asked.seed <= MAX_SEED:
            raise BadClaim("seed", f"must be a whole number from 0 to {MAX_SEED}")
        task, own = name_inputs(asked.task, asked.inputs)
        plan = _plan(asked.job_id, asked.model, task, asked.source, routes, device, rng, origin="local")
        inputs = tuple(replace(item, path=own.get(item.role)) for item in plan.inputs)
        return replace(plan, inputs=inputs, files=asked.files, seed=plan.seed if asked.seed is None else asked.seed)
    claim = parse_claim(asked)
    return _plan(claim.job_id, claim.model, claim.task, claim.source, routes, device, rng, attempt=claim.attempt)


def wanted_inputs(task: Task) -> tuple[Wanted, ...]:
    """The inputs that a task names, by role, each with the most bytes that it may have."""
    match task:
        case ImageTask():
            urls: tuple[tuple[InputRole, str, str | None], ...] = (
                ("image", "task.initImageUrl", task.init_image_url),
                ("mask", "task.maskUrl", task.mask_url),
                ("ref_image", "task.refImageUrl", task.ref_image_url),
            )
        case VideoTask():
            urls = (("image", "task.initImageUrl", task.init_image_url),)
        case SttTask():
            return (Wanted("audio", "task.inputUrl", task.input_url, MAX_AUDIO_BYTES),)
        case _:
            return ()
    return tuple(Wanted(role, field, url, MAX_PICTURE_BYTES) for role, field, url in urls if url is not None)


def load_options(task: Task, source: ModelSource | None, device: str | None) -> LoadOptions:
    """How to load the model: the source's defaults, in which 0 means none; a task's own template values win."""
    if source is None:
        template = task.chat_template_kwargs if isinstance(task, LlmTask) else None
        return LoadOptions(chat_template_kwargs=template or {}, device=device)
    defaults = source.cli_defaults
    template = task.chat_template_kwargs if isinstance(task, LlmTask) else defaults.chat_template_kwargs
    return LoadOptions(
        context_size=defaults.context_size or None,
        flow_shift=defaults.flow_shift or None,
        zero_cond_t=defaults.zero_cond_t,
        offload_to_cpu=defaults.offload_to_cpu,
        chat_template_kwargs=template or {},
        device=device,
    )


def _plan(
    job_id: str,
    model: str,
    task: Task,
    source: ModelSource | None,
    routes: Routes,
    device: DeviceChoice,
    rng: Random,
    *,
    attempt: int | None = None,
    origin: Literal["studio", "local"] = "studio",
) -> Plan:
    task = resolve_defaults(task, source)
    route = routes.pick(task.kind, model, source.engine if source is not None else None)
    carried = task.seed if isinstance(task, ImageTask) else None
    return Plan(
        job_id=job_id,
        model=model,
        task=task,
        source=source,
        route=route,
        seed=rng.getrandbits(RANDOM_SEED_BITS) if carried is None else carried,
        options=load_options(task, source, device(route.engine.plugin)),
        prompt=whole_prompt(task),
        inputs=wanted_inputs(task),
        attempt=attempt,
        origin=origin,
    )
