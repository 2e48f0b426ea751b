"""The commands that there are: where each lives, and the line that `--help` shows without importing it."""

from __future__ import annotations

from typing import NamedTuple


class Entry(NamedTuple):
    """A command that is imported when it is called.

    Attributes:
        module: the module below `studio_worker.cli`.
        attribute: the click command in it.
        short_help: what `--help` of the program says; the command itself says the same.
    """

    module: str
    attribute: str
    short_help: str


COMMANDS = {
    "run": Entry("run", "run_worker", "Run the worker until it is stopped."),
    "generate": Entry("generate", "generate", "Run one job on this machine, without a studio."),
    "explain": Entry("explain", "explain", "Say what would become of a job, and why."),
    "demo": Entry("demo", "demo", "Studio and worker in one command: real jobs, real results."),
    "studio": Entry("studio", "studio", "Host a studio of your own."),
    "register": Entry("register", "register", "Show or reset this machine's registration."),
    "status": Entry("status", "status", "Show what the worker on this machine is doing."),
    "pause": Entry("pausing", "pause", "Let the running worker take no new jobs."),
    "resume": Entry("pausing", "resume", "Let the running worker take jobs again."),
    "config": Entry("config", "config", "Show and change the settings."),
    "set-threshold": Entry("threshold", "set_threshold", "Set how much video memory a job may ask for."),
    "engines": Entry("engines", "engines", "Show the engines that are installed."),
    "plugins": Entry("plugins", "plugins", "Show, install, make and check plugins."),
    "models": Entry("models", "models", "Show, pull, add, verify and remove model files."),
    "jobs": Entry("jobs", "jobs", "Show, add, cancel and retry the jobs of a studio."),
}
"""In the order of `--help`."""
