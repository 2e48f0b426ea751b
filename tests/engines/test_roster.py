from dataclasses import replace

import pytest

from studio_worker.config import Config
from studio_worker.engines.certificates import Standing
from studio_worker.engines.installed_content import installed_content
from studio_worker.engines.installed_engines import InstalledEngines
from studio_worker.engines.roster import in_force, trusted
from studio_worker.engines.surroundings import Surroundings

from .packages import certificate, list_files, put
from .test_certification import FOX

NOT_HERE = ("llama", "onnx", "piper", "sdcpp", "whisper")


@pytest.fixture
def config(tmp_path):
    def make(**fields):
        return Config(api_base_url=None, state_dir=tmp_path / "state", **{"disabled_engines": NOT_HERE} | fields)

    return make


@pytest.fixture
def fox(shop, tmp_path):
    """An installed and certified engine ``fox``."""
    module = shop.folder / f"{shop.engine('fox')}.py"
    list_files(shop.folder / "fox-1.0.dist-info", module)
    said = certificate(content_sha256=installed_content("fox").sha256)
    return put(tmp_path / "state" / "certificates", "fox-1.0.json", said)


async def found(config, name="fox"):
    (engine,) = [
        engine
        for engine in in_force(await InstalledEngines().described(config), config, Surroundings.unknown())
        if engine.name == name
    ]
    return engine


async def test_installed_engines_come_with_their_certificates(fox, config):
    assert (await found(config())).certificate.word == "valid"


async def test_a_certified_engine_is_in_force_where_that_is_required(fox, config):
    assert (await found(config(require_certified_engines=True))).status == "available"


async def test_an_uncertified_engine_is_out_of_use_only_where_that_is_required(fox, config):
    fox.unlink()
    assert (await found(config())).status == "available"
    assert (await found(config(require_certified_engines=True))).status == "unavailable"


async def test_the_built_in_engine_stays(config):
    assert (await found(config(require_certified_engines=True), "synthetic")).status == "available"


async def test_what_is_disabled_is_told_as_disabled_though_it_lacks_a_certificate(fox, config):
    fox.unlink()
    strict = config(require_certified_engines=True, disabled_engines=(*NOT_HERE, "fox"))
    assert (await found(strict)).status == "disabled"


async def test_what_may_not_run_jobs_may_not_hear_of_them_either(fox, config):
    required = config(require_certified_engines=True)

    async def names(settings):
        engines = in_force(await InstalledEngines().described(settings), settings, Surroundings.unknown())
        return {engine.name for engine in trusted(engines, settings)}

    assert {"fox", "synthetic"} <= await names(required)
    fox.unlink()
    assert "fox" in await names(config())
    assert "fox" not in await names(required)
    assert "synthetic" in await names(required)


def test_an_uncertified_copy_in_an_environment_of_its_own_does_not_speak_for_the_certified_one(config, tmp_path):
    certified = replace(FOX, certificate=Standing("valid", "", tmp_path))
    copy = replace(FOX, environment="den", python="/den/bin/python")
    assert trusted([certified, copy], config(require_certified_engines=True)) == (certified,)


def test_of_two_engines_of_one_package_the_uncertified_one_speaks_for_both(config, tmp_path):
    certified = replace(FOX, certificate=Standing("valid", "", tmp_path))
    assert trusted([certified, replace(FOX, position=1)], config(require_certified_engines=True)) == ()
