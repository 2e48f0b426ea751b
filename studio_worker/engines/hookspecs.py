"""The hooks that a plugin may implement; each docstring is its reference.

An implementation names the arguments that it wants and no others, in any order. So a hook may be given more of them in
a later release, and what was written before goes on.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from studio_worker.engines.base import Engine, JobInfo, Outcome, PluginConfig

PROJECT = "studio_worker"
"""pluggy's project name, and the entry-point group of plugins."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def studio_worker_engines(config: PluginConfig) -> Iterable[Engine]:  # type: ignore[empty-body]  # a specification
    """Return the engines of this package.

    Called once in the describe step and once where the engines run; keep it cheap and import nothing heavy.
    `config.plugin` is the package's own table, ``[plugins.<entry point name>]``; it holds no secrets of the
    worker. Texts under keys such as ``api_key``, ``token`` or ``password`` are shown nowhere.
    """


@hookspec
def studio_worker_job_started(job: JobInfo) -> None:
    """A job is about to run. Called in the worker's process, off its event loop; an error is logged and ignored."""


@hookspec
def studio_worker_job_finished(job: JobInfo, outcome: Outcome) -> None:
    """A job has ended, one way or another. Called as `studio_worker_job_started` is."""
