"""The order of defaults: task, then source, then the contract's table (protocol section 4)."""

from __future__ import annotations

from typing import Any

from studio_worker.errors import BadClaim
from studio_worker.wire.model_source import CliDefaults, ModelSource
from studio_worker.wire.tasks import ImageTask, LlmTask, Task, VideoTask

STEPS_NOT_CARRIED = 20
"""Studios fill in `steps: 20`, so that value counts as not carried."""


def resolve_defaults(task: Task, source: ModelSource | None) -> Task:
    """The task with every default resolved.

    A value that the task carries wins (`model_fields_set` knows what it carried; `steps: 20` counts as not
    carried); else the source's default, where 0 means none; else the contract's table.

    Raises:
        BadClaim: a default of the source breaks the task's own bounds (the pixel budget).
    """
    if source is None:
        return task
    found = _from_source(task, source.cli_defaults)
    if not found:
        return task
    if isinstance(task, LlmTask):
        # Judged already, both the task and the template's values: a schema is not to be checked twice.
        return task.model_copy(update=found)
    try:
        return type(task).model_validate({**{name: getattr(task, name) for name in task.model_fields_set}, **found})
    except BadClaim as error:
        raise BadClaim("modelSource.cliDefaults.width", error.problem) from None


def _from_source(task: Task, defaults: CliDefaults) -> dict[str, Any]:
    names: tuple[str, ...]
    match task:
        case ImageTask():
            names = ("cfg_scale", "steps", "width", "height", "sampling_method")
        case VideoTask():
            names = ("width", "height")
        case LlmTask():
            names = ("chat_template_kwargs",)
        case _:
            return {}
    found: dict[str, Any] = {}
    for name in names:
        value = getattr(defaults, name)
        carried = name in task.model_fields_set
        if name == "steps" and isinstance(task, ImageTask) and task.steps == STEPS_NOT_CARRIED:
            carried = False
        if value and not carried:
            found[name] = value
    return found
