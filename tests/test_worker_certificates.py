"""A worker that uses certified engines only: what it advertises, refuses and takes."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress

import pytest

from studio_worker import EngineError, LlmTask, ModelSource, NoEngine, Worker
from studio_worker.engines.installed_content import installed_content
from studio_worker.private_file import write_atomically
from studio_worker.testing.claims import llm_claim
from studio_worker.testing.scripted_studio import ScriptedStudio

from .engines.packages import certificate, list_files

PACKAGE = "installed_fox"
HELLO = LlmTask(messages=[{"role": "user", "content": "hello"}])


@pytest.fixture
async def studio():
    async with ScriptedStudio() as studio:
        yield studio


@pytest.fixture
def fox(site):
    """An installed engine ``fox`` that runs in a process; its module."""
    module = site.folder / f"{site.install('fox', isolation='process')}.py"
    list_files(site.folder / f"{PACKAGE}-1.0.dist-info", module)
    return module


@pytest.fixture
def strict(settings):
    return lambda **fields: settings(require_certified_engines=True, **fields)


@pytest.fixture
def certify(tmp_path):
    """Writes a certificate about the package as it is now."""

    def write(**fields):
        folder = tmp_path / "state" / "certificates"
        folder.mkdir(parents=True, exist_ok=True)
        rule = {"rule": "every-kind-runs", "outcome": "passed", "message": "it ran", "secs": 0.1}
        said = {"content_sha256": installed_content(PACKAGE).sha256, "engines": [{"name": "fox", "rules": [rule]}]}
        data = json.dumps(certificate(PACKAGE, **said | fields)).encode()
        write_atomically(folder / "fox.json", data)

    return write


def ask(worker):
    return worker.submit(HELLO, model="fox-llm", source=ModelSource(engine="fox"))


async def test_a_claim_for_an_uncertified_engine_is_refused_with_no_fall_back(fox, strict, studio):
    async with Worker(strict(api_base_url=studio.url)):
        hello = await studio.frame("hello")
        assert hello["capabilities"]["sources"]["llm"] == ["synthetic"]
        assert "fox-llm" not in hello["capabilities"]["supportedModels"]
        await studio.offer(llm_claim("j", claim_fields={"engine": "fox", "model": "fox-llm"}))
        failed = await studio.frame("fail", job_id="j")
        assert failed["retryable"] is False
        assert "it has no certificate, and require_certified_engines is on" in failed["error"]
        assert f"studio-worker plugins check {PACKAGE} --certificate" in failed["error"]
        await studio.offer(llm_claim("other"))
        assert (await studio.frame("completeJson", job_id="other"))["result"]


async def test_a_claim_for_a_certified_engine_is_taken(fox, strict, studio, certify):
    certify()
    async with Worker(strict(api_base_url=studio.url)):
        assert "fox" in (await studio.frame("hello"))["capabilities"]["sources"]["llm"]
        await studio.offer(llm_claim("j", claim_fields={"engine": "fox", "model": "fox-llm"}))
        done = await studio.frame("completeJson", job_id="j")
        assert done["result"]["choices"][0]["message"]["content"] == "fox"


async def test_an_edited_file_ends_what_its_certificate_was_worth(fox, strict, certify):
    certify()
    fox.write_text(fox.read_text() + "\n# an edit\n")
    async with Worker(strict()) as worker:
        with pytest.raises(NoEngine, match=r"certificate is stale \(the files of the package are not those"):
            await ask(worker)


async def test_a_certificate_of_failures_lets_nobody_in(fox, strict, certify):
    rule = {"rule": "no-leaks", "outcome": "failed", "message": "it leaks", "secs": 0.1}
    certify(engines=[{"name": "fox", "rules": [rule]}])
    async with Worker(strict()) as worker:
        with pytest.raises(NoEngine, match=r"certificate is failed .*no-leaks"):
            await ask(worker)


async def test_an_engine_is_taken_once_it_is_certified_without_a_restart(fox, strict, certify, soon):
    async with Worker(strict()) as worker:
        with pytest.raises(NoEngine):
            await ask(worker)
        certify()
        async with asyncio.timeout(20):
            while True:
                try:
                    await ask(worker)
                    break
                except NoEngine:
                    await asyncio.sleep(0.01)
    (engine,) = [engine for engine in worker.engines if engine.name == "fox"]
    assert (engine.status, engine.certificate.word) == ("available", "valid")


@pytest.mark.parametrize("isolation", ["process", "thread"])
async def test_a_package_that_changes_under_a_worker_is_not_started_and_then_out_of_use(
    isolation, site, strict, certify
):
    module = site.folder / f"{site.install('fox', isolation=isolation)}.py"
    list_files(site.folder / f"{PACKAGE}-1.0.dist-info", module)
    certify()
    async with Worker(strict()) as worker:
        module.write_text(module.read_text() + "\n# an edit\n")
        with pytest.raises(EngineError, match=r"not started: its certificate is stale .*remedy: reinstall the package"):
            await ask(worker)
        async with asyncio.timeout(20):
            while any(each.name == "fox" and each.status == "available" for each in worker.engines):
                with suppress(EngineError, NoEngine):
                    await ask(worker)
        with pytest.raises(NoEngine, match="its certificate is stale"):
            await ask(worker)


async def test_a_file_that_takes_the_place_of_a_certified_module_is_not_run(fox, strict, certify):
    certify()
    planted = fox.with_suffix("")
    planted.mkdir()
    (planted / "__init__.py").write_text(fox.read_text().replace('"content": "fox"', '"content": "planted"'))
    async with Worker(strict()) as worker:
        with pytest.raises(NoEngine, match=r"installed_fox/__init__\.py, which its list of files"):
            await ask(worker)


async def test_without_the_setting_nobody_needs_a_certificate(fox, settings):
    async with Worker(settings()) as worker:
        assert (await ask(worker)).json["choices"][0]["message"]["content"] == "fox"


async def test_an_embedders_own_engines_need_none(strict, gate, words):
    gate.opened.set()
    async with Worker(strict(), engines=[gate]) as worker:
        await worker.submit(words(), model="gate-llm")
        await worker.submit(words(), model="synthetic-llm")


async def test_status_tells_of_the_refused_engine(fox, strict):
    async with Worker(strict()) as worker:
        (told,) = [engine for engine in worker.status()["engines"] if engine["name"] == "fox"]
    assert told["status"] == "unavailable"
    assert "require_certified_engines" in told["reason"]
