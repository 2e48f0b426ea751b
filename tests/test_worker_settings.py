"""What a worker takes from its settings, before the start and while it runs, and the engines it is given."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from studio_worker import InstalledEngines, LlmResult, Worker
from studio_worker.config import Config, ConfigSource
from studio_worker.engines.base import Engine, EngineCapabilities
from studio_worker.engines.description import EngineDescription
from studio_worker.errors import NoEngine, PluginError
from studio_worker.testing.claims import llm_claim
from studio_worker.testing.devices import FakeDevices
from studio_worker.testing.scripted_studio import ScriptedStudio
from studio_worker.wire.kinds import TaskKind

from .conftest import NOT_HERE


@pytest.fixture
async def studio():
    async with ScriptedStudio() as studio:
        yield studio


class File:
    """A config file that a worker follows."""

    def __init__(self, path: Path, **fields: object) -> None:
        self.path = path
        self.fields: dict[str, object] = {"disabled_engines": [*NOT_HERE], **fields}
        self._edits = 0
        self.write()
        self.source = ConfigSource(path, {})

    def write(self, **fields: object) -> None:
        self.fields |= fields
        lines = [f"{key} = {_toml(value)}\n" for key, value in self.fields.items() if not isinstance(value, dict)]
        for key, table in self.fields.items():
            if isinstance(table, dict):
                lines += [f"[{key}]\n", *(f"{name} = {_toml(value)}\n" for name, value in table.items())]
        self.path.write_text("".join(lines))
        # A clock's tick is coarse: two edits within one must differ for whoever looks at the time.
        self._edits += 1
        os.utime(self.path, (1_700_000_000 + self._edits, 1_700_000_000 + self._edits))

    def worker(self, **given: object) -> Worker:
        return Worker(self.source.current, config_source=self.source, **given)


def _toml(value: object) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return f'"{value}"' if isinstance(value, str | Path) else str(value).lower()


@pytest.fixture
def file(tmp_path: Path, studio: ScriptedStudio) -> File:
    return File(
        tmp_path / "config.toml",
        api_base_url=studio.url,
        state_dir=tmp_path / "state",
        models_root=tmp_path / "models",
        register_poll_secs=0.02,
        reconnect_base_secs=0.01,
    )


async def advert(worker: Worker, studio: ScriptedStudio) -> dict:
    """The capabilities of a heartbeat of this moment."""
    await studio.welcomed(len(studio.sessions) or 1)
    worker.resume()
    return (await studio.heartbeat())["capabilities"]


async def until_served(engine: str, worker: Worker, studio: ScriptedStudio) -> dict:
    """The first capabilities that name this engine."""
    async with asyncio.timeout(20):
        while engine not in (told := await advert(worker, studio))["sources"]["llm"]:
            pass
    return told


async def test_a_changed_threshold_and_name_are_in_the_next_heartbeat(file, studio):
    async with file.worker() as worker:
        assert (await advert(worker, studio))["vramThresholdGb"] == 12.0
        file.write(vram_threshold_gb=5.5, machine_name="attic")
        told = await advert(worker, studio)
        assert (told["vramThresholdGb"], told["machineName"]) == (5.5, "attic")
        assert worker.status()["vramThresholdGb"] == 5.5


async def test_a_broken_edit_keeps_the_last_good_settings(file, studio):
    async with file.worker() as worker:
        file.write(vram_threshold_gb=5.5)
        await advert(worker, studio)
        file.write(vram_threshold_gb=float("nan"))
        assert (await advert(worker, studio))["vramThresholdGb"] == 5.5


async def test_a_device_that_is_not_here_leaves_the_devices_as_they_were_and_takes_the_rest(file, studio, caplines):
    file.write(device="cpu")
    file.source.refresh()
    async with file.worker(devices=FakeDevices()) as worker:
        file.write(device="cuda:9", vram_threshold_gb=5.5)
        assert (await advert(worker, studio))["vramThresholdGb"] == 5.5
        assert worker._config.device == "cpu"
    (said,) = [line for line in caplines if line["message"] == "The devices in force stay as they were"]
    assert said["reason"].startswith("device: the device 'cuda:9' is not here: this machine has cpu (Fake CPU)")


async def test_more_seats_are_used_without_a_restart(file, studio, gate, words, soon):
    async with file.worker(engines=[gate]) as worker:
        file.write(max_concurrent_jobs=2)
        jobs = [worker.submit(words(), model="gate-llm") for _ in range(2)]
        for _ in jobs:
            await soon(gate.entered.get())
        gate.opened.set()
        await asyncio.gather(*jobs)


async def test_a_worker_without_a_studio_takes_changes_with_the_next_job(tmp_path, words, gate):
    path = tmp_path / "config.toml"
    file = File(path, state_dir=tmp_path / "state")
    base = Config(api_base_url=None, state_dir=tmp_path / "state", disabled_engines=NOT_HERE)

    class WithoutStudio:
        def __init__(self) -> None:
            self._known: dict[int, Config] = {}

        def refresh(self) -> Config:
            read = file.source.refresh()
            if id(read) not in self._known:
                self._known[id(read)] = base.model_copy(update={"disabled_engines": read.disabled_engines})
            return self._known[id(read)]

    gate.opened.set()
    async with Worker(base, config_source=WithoutStudio(), engines=[gate]) as worker:
        await worker.submit(words(), model="gate-llm")
        file.write(disabled_engines=[*NOT_HERE, "gate"])
        with pytest.raises(NoEngine):
            await worker.submit(words(), model="gate-llm")


async def test_an_engine_that_is_disabled_is_advertised_no_more_and_refuses(file, studio, gate):
    gate.opened.set()
    async with file.worker(engines=[gate]) as worker:
        assert "gate" in (await advert(worker, studio))["sources"]["llm"]
        file.write(disabled_engines=[*NOT_HERE, "gate"])
        told = await advert(worker, studio)
        assert "gate" not in told["sources"]["llm"]
        assert "gate-llm" not in told["supportedModels"]
        await studio.offer(llm_claim("j", claim_fields={"engine": "gate"}))
        assert (await studio.frame("fail", job_id="j"))["retryable"] is False
        assert ("gate", "disabled") in [(engine.name, engine.status) for engine in worker.engines]
        assert {"name": "gate", "status": "disabled"}.items() <= worker.status()["engines"][-1].items()


async def test_an_engine_that_is_enabled_again_is_advertised_and_runs(file, studio, gate):
    gate.opened.set()
    file.write(disabled_engines=[*NOT_HERE, "gate"])
    file.source.refresh()
    async with file.worker(engines=[gate]) as worker:
        assert "gate" not in (await advert(worker, studio))["sources"]["llm"]
        file.write(disabled_engines=[*NOT_HERE])
        assert "gate" in (await advert(worker, studio))["sources"]["llm"]
        await studio.offer(llm_claim("j", claim_fields={"engine": "gate"}))
        await studio.frame("completeJson", job_id="j")


async def test_a_plugin_that_was_disabled_at_the_start_is_described_once_it_is_enabled(file, studio, site):
    site.install("late")
    file.write(disabled_engines=[*NOT_HERE, "late"])
    file.source.refresh()
    async with file.worker() as worker:
        assert "late" not in (await advert(worker, studio))["sources"]["llm"]
        file.write(disabled_engines=[*NOT_HERE])
        await until_served("late", worker, studio)
        await studio.offer(llm_claim("j", claim_fields={"engine": "late"}))
        done = await studio.frame("completeJson", job_id="j")
    assert done["result"]["choices"][0]["message"]["content"] == "late"


async def test_a_worker_outlives_a_second_look_at_its_engines_that_fails(file, studio, caplines):
    class Failing(InstalledEngines):
        async def described(self, config: Config) -> tuple[EngineDescription, ...]:
            if "nobody" not in config.disabled_engines:
                raise OSError(36, "File name too long")
            return await super().described(config)

    file.write(disabled_engines=[*NOT_HERE, "nobody"])
    file.source.refresh()
    async with file.worker(installed=Failing(only=["synthetic"])) as worker:
        await advert(worker, studio)
        file.write(disabled_engines=[*NOT_HERE])
        async with asyncio.timeout(20):
            while not [line for line in caplines if line["event"] == "engine.describe"]:
                await advert(worker, studio)
        assert "synthetic" in (await advert(worker, studio))["sources"]["llm"]


async def test_a_changed_table_waits_for_the_restart_and_the_engine_is_described_as_it_runs(
    file, studio, site, caplines
):
    module = site.folder / f"{site.install('late', isolation='process')}.py"
    told_by_table = "def studio_worker_engines(config):\n    Mine.sources = (config.plugin['called'],)"
    text = module.read_text().replace("def studio_worker_engines(config):", told_by_table)
    module.write_text(text.replace('"content": "late"', '"content": Mine.sources[0]'))
    file.write(disabled_engines=[*NOT_HERE, "late"], **{"plugins.late": {"called": "old"}})
    file.source.refresh()
    async with file.worker() as worker:
        await advert(worker, studio)
        file.write(disabled_engines=[*NOT_HERE], **{"plugins.late": {"called": "new"}})
        told = await until_served("old", worker, studio)
        assert "new" not in told["sources"]["llm"]
        await studio.offer(llm_claim("j", claim_fields={"engine": "old"}))
        done = await studio.frame("completeJson", job_id="j")
    assert done["result"]["choices"][0]["message"]["content"] == "old"
    assert "plugins" in {line.get("settings") for line in caplines if "restart" in line["message"]}


async def test_a_changed_environment_waits_for_the_restart(file, studio, site, environments):
    home = environments.serving("owl")
    site.install("late")
    file.write(disabled_engines=[*NOT_HERE, "late"], engine_environments={"night": home})
    file.source.refresh()
    async with file.worker() as worker:
        file.write(disabled_engines=[*NOT_HERE], engine_environments={"night": home.with_name("gone")})
        await until_served("late", worker, studio)
        (owl,) = [engine for engine in worker.engines if engine.environment]
        assert (owl.name, owl.status, owl.python) == ("owl", "available", f"{home}/bin/python")


async def test_a_changed_preference_sends_the_next_job_to_the_other_engine(file, studio, site):
    site.install("alpha", sources=("shared",))
    site.install("beta", sources=("shared",))

    async def answer(job_id: str) -> str:
        await studio.offer(llm_claim(job_id, claim_fields={"engine": "shared"}))
        return (await studio.frame("completeJson", job_id=job_id))["result"]["choices"][0]["message"]["content"]

    async with file.worker() as worker:
        assert await answer("first") == "alpha"
        file.write(engine_preferences={"shared": "beta"})
        await advert(worker, studio)
        assert await answer("second") == "beta"


async def test_another_studio_in_the_file_needs_a_restart_and_gets_no_token_before(file, studio, caplines):
    async with ScriptedStudio() as other:
        async with file.worker() as worker:
            await advert(worker, studio)
            file.write(api_base_url=other.url, vram_threshold_gb=3.0)
            assert (await advert(worker, studio))["vramThresholdGb"] == 3.0
            await studio.offer(_picture("cup"))
            assert (await studio.upload("cup")).status == 200
            assert worker.status()["apiBaseUrl"] == studio.url
        assert other.requests == []
    assert [line for line in caplines if "restart" in line["message"]]


def _picture(job_id: str) -> dict:
    from studio_worker.testing.claims import image_claim

    return image_claim(job_id)


async def test_another_state_folder_in_the_file_waits_for_the_restart(file, studio, tmp_path):
    async with file.worker() as worker:
        await advert(worker, studio)
        file.write(state_dir=tmp_path / "elsewhere")
        await advert(worker, studio)
        assert worker.status()["stateDir"] == str(tmp_path / "state")
    assert not (tmp_path / "elsewhere").exists()


async def test_a_hidden_machine_shows_neither_its_name_nor_its_user(file, studio):
    import getpass
    import platform

    file.write(share_identity=False)
    file.source.refresh()
    async with file.worker() as worker:
        told = await advert(worker, studio)
    asked = studio.requests[0].json
    assert told["machineName"] == asked["installId"][:8]
    assert told["username"] == ""
    for shown in (told, asked["capabilities"]):
        assert platform.node() not in str(shown)
        assert getpass.getuser() not in (shown["username"], shown["machineName"])


async def test_an_engine_is_given_as_module_and_factory(settings, site, words):
    module = site.install("made")
    async with Worker(settings(disabled_engines=("made", *NOT_HERE)), engines=[f"{module}:make"]) as worker:
        assert ("made", "disabled") in [(engine.name, engine.status) for engine in worker.engines]
    async with Worker(settings("other"), engines=[f"{module}:make"]) as worker:
        result = await worker.submit(words(), model="made-llm")
    assert isinstance(result, LlmResult)


class Plain(Engine):
    """As an embedder's first engine looks: isolation "process" by default."""

    name = "plain"

    def capabilities(self) -> EngineCapabilities:
        return EngineCapabilities({TaskKind.LLM: ["plain-llm"]})

    def run(self, job):
        from threading import current_thread, main_thread

        assert current_thread() is not main_thread()
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        choice = {"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}
        return LlmResult({"object": "chat.completion", "model": "plain", "choices": [choice], "usage": usage})


async def test_an_object_that_asks_for_a_process_runs_in_a_thread_and_a_warning_says_so(settings, words, caplines):
    async with Worker(settings(), engines=[Plain()]) as worker:
        assert isinstance(await worker.submit(words(), model="plain-llm"), LlmResult)
    (warning,) = [line for line in caplines if line["event"] == "engine.given"]
    assert (warning["engine"], warning["level"]) == ("plain", "WARNING")


@pytest.mark.parametrize("name", ["synthetic", "", "two\nlines"])
async def test_an_object_with_a_name_that_cannot_be_is_refused_at_the_start(settings, name):
    engine = Plain()
    engine.name = name
    with pytest.raises(PluginError, match="Plain"):
        async with Worker(settings(), engines=[engine]):
            pytest.fail("started")


async def test_a_given_engine_and_a_plugin_are_both_routed_to(settings, site, words, gate):
    site.install("beside")
    gate.opened.set()
    async with Worker(settings(), engines=[gate]) as worker:
        for model in ("gate-llm", "beside-llm"):
            assert isinstance(await worker.submit(words(), model=model), LlmResult)
        assert {"gate", "beside", "synthetic"} <= set(worker.routes.sources_per_kind[TaskKind.LLM])


async def test_a_plugin_that_is_broken_is_shown_and_the_others_work(settings, site, words):
    module = site.install("torn")
    (site.folder / f"{module}.py").write_text("raise SystemExit(3)\n")
    async with Worker(settings()) as worker:
        (torn,) = [engine for engine in worker.status()["engines"] if engine["name"] == "torn"]
        assert torn["status"] == "broken"
        assert torn["reason"]
        assert isinstance(await worker.submit(words(), model="synthetic-llm"), LlmResult)
