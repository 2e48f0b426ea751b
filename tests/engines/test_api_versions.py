"""What plugins may rely on: old implementations go on, other versions are named, what goes is warned of."""

import sys

import pluggy
import pytest

from studio_worker.engines import deprecations, hookspecs
from studio_worker.engines.base import Engine, EngineCapabilities, JobInfo, Outcome
from studio_worker.engines.deprecations import Deprecation, used_by
from studio_worker.engines.description import EngineDescription, read_reports
from studio_worker.engines.loading import Plugin
from studio_worker.engines.self_report import report_of
from studio_worker.version import API_VERSION
from studio_worker.wire.kinds import TaskKind

JOB = JobInfo("j-1", TaskKind.LLM, "m", "toy")
OLD = Deprecation("threads", "job.options.threads", since="1.4", until=2)


class Toy(Engine):
    name = "toy"

    def capabilities(self):
        return EngineCapabilities({TaskKind.LLM: ["toy"]})

    def run(self, job):
        raise NotImplementedError


class OldToy(Toy):
    threads = 4


def read(owner: EngineDescription, **changes) -> EngineDescription:
    (engine,) = read_reports([{**report_of(Toy()), **changes}], owner)
    return engine


# hooks


async def test_an_implementation_that_names_no_argument_brings_its_engines(shop):
    source = shop.folder / f"{shop.engine('alpha')}.py"
    source.write_text(source.read_text().replace("studio_worker_engines(config)", "studio_worker_engines()"))
    (engine,) = await shop.described()
    assert (engine.name, engine.status) == ("alpha", "available")


WATCHER = """
    from studio_worker import hookimpl

    seen = []

    @hookimpl
    def studio_worker_job_finished(outcome):
        seen.append(outcome)
"""


def test_an_implementation_gets_the_arguments_that_it_names(shop):
    module = shop.make("watcher", WATCHER)
    outcome = Outcome("done", 1.0)
    Plugin(module).hook("studio_worker_job_finished")(job=JOB, outcome=outcome)
    assert sys.modules[module].seen == [outcome]


def test_a_hook_that_has_grown_an_argument_calls_implementations_of_before(shop, monkeypatch):
    def studio_worker_job_finished(job, outcome, studio):
        """As a later release may have it."""

    grown = pluggy.HookspecMarker(hookspecs.PROJECT)(studio_worker_job_finished)
    monkeypatch.setattr(hookspecs, "studio_worker_job_finished", grown)
    module = shop.make("watcher", WATCHER)
    outcome = Outcome("done", 1.0)
    Plugin(module).hook("studio_worker_job_finished")(job=JOB, outcome=outcome, studio="https://studio.example/")
    assert sys.modules[module].seen == [outcome]


async def test_an_argument_that_no_release_knows_is_told_by_its_name(shop):
    source = shop.folder / f"{shop.engine('alpha')}.py"
    source.write_text(source.read_text().replace("studio_worker_engines(config)", "studio_worker_engines(konfig)"))
    (engine,) = await shop.described()
    assert engine.status == "broken"
    assert "konfig" in engine.reason


@pytest.mark.parametrize("hook", ["studio_worker_engines", "studio_worker_job_started", "studio_worker_job_finished"])
def test_every_hook_has_a_docstring_which_is_its_reference(hook):
    assert getattr(hookspecs, hook).__doc__


# the plugin API


def test_an_engine_for_a_later_plugin_api_is_named_with_the_workers_update():
    engine = read(EngineDescription(name="p", distribution="studio-worker-toy"), api_version=API_VERSION + 1)
    assert engine.status == "broken"
    assert (
        engine.reason == f"engine 'toy' is written for plugin API {API_VERSION + 1}, this worker serves {API_VERSION}"
    )
    assert engine.remedy == "update the worker: pip install --upgrade studio-worker"


@pytest.mark.parametrize(("said", "shown"), [("1", "of type str"), (1.0, "of type float"), (True, "of type bool")])
def test_an_api_version_that_is_no_whole_number_is_named_with_its_type_and_no_update(said, shown):
    class Odd(Toy):
        api_version = said

    (engine,) = read_reports([report_of(Odd())], EngineDescription(name="p", distribution="studio-worker-toy"))
    assert engine.reason == f"engine 'toy' has the api_version {shown}; the whole number {API_VERSION} is needed"
    assert engine.remedy == ""


@pytest.mark.parametrize("asked", [0, -1])
def test_an_engine_for_an_earlier_plugin_api_is_named_with_its_own_update(asked):
    engine = read(EngineDescription(name="p", distribution="studio-worker-toy"), api_version=asked)
    assert engine.remedy == "update the plugin: pip install --upgrade studio-worker-toy"


def test_in_an_environment_of_its_own_the_update_goes_there():
    owner = EngineDescription(name="p", distribution="studio-worker-toy", environment="e", python="/e/bin/python")
    assert "pip --python /e/bin/python install --upgrade studio-worker-toy" in read(owner, api_version=0).remedy


# what is on its way out


def test_what_a_class_or_an_object_has_of_it_is_told_and_nothing_else(monkeypatch):
    monkeypatch.setattr(deprecations, "DEPRECATED", (OLD, Deprecation("run", "stream", since="1.4", until=2)))
    engine = Toy()
    assert used_by(engine) == ["run is deprecated since 1.4 and gone with plugin API 2: use stream"]
    engine.threads = 4
    assert len(used_by(engine)) == 2


def test_a_class_between_counts_and_the_base_does_not(monkeypatch):
    monkeypatch.setattr(deprecations, "DEPRECATED", (OLD, Deprecation("concurrency", "x", since="1.4", until=2)))
    assert used_by(type("Younger", (OldToy,), {})()) == [str(OLD)]


def test_what_an_engine_uses_is_read_and_anything_else_is_left_out():
    assert read(EngineDescription(name="p"), deprecated=["a\nb", 3, "c"]).deprecated == ("a\\nb", "c")
    assert read(EngineDescription(name="p"), deprecated="threads").deprecated == ()


async def test_a_plugin_is_warned_of_once_by_its_name(shop, log_lines):
    """Where the child reports it; the table of this release is empty, so the plugin patches it there."""
    shop.make(
        "alpha",
        """
        from studio_worker import Engine, EngineCapabilities, TaskKind, hookimpl
        from studio_worker.engines import deprecations

        deprecations.DEPRECATED = (deprecations.Deprecation("threads", "options", since="1.4", until=2),)

        class Mine(Engine):
            threads = 4

            def __init__(self, name):
                self.name = name

            def capabilities(self):
                return EngineCapabilities({TaskKind.VIDEO: [self.name]})

            def run(self, job):
                ...
        """,
        hooks='[Mine("one"), Mine("two")]',
    )
    engines = await shop.described()
    assert [engine.status for engine in engines] == ["available", "available"]
    (line,) = [line for line in log_lines if line.get("event") == "engine.deprecated"]
    assert (line["plugin"], line["level"]) == ("alpha", "WARNING")
    assert line["reason"] == "threads is deprecated since 1.4 and gone with plugin API 2: use options"
