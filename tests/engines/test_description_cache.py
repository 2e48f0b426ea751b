"""What is remembered of plugins between commands that only list them."""

import json
import os
import sys

import pytest

from studio_worker.engines.description_cache import DescriptionCache
from studio_worker.engines.entry_points import PluginRef


async def test_what_is_unchanged_is_not_asked_again(shop, tmp_path, monkeypatch):
    shop.engine("alpha")
    first = await shop.described_one(cache=DescriptionCache(tmp_path / "cache" / "plugins.json"))
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    again = await shop.described_one(cache=DescriptionCache(tmp_path / "cache" / "plugins.json"))
    assert again == first
    assert again.status == "available"


@pytest.mark.parametrize("change", ["version", "table", "file"])
async def test_a_plugin_is_asked_again_after_a_change_of_its(change, shop, tmp_path):
    path = tmp_path / "plugins.json"
    module = shop.engine("alpha")
    await shop.described(cache=DescriptionCache(path))
    (ref,) = shop.refs()
    before = DescriptionCache(path).key(ref, {})
    table = {}
    if change == "version":
        ref = PluginRef(ref.name, ref.value, ref.distribution, "1.1")
    elif change == "table":
        table = {"size": 1}
    else:
        os.utime(shop.folder / f"{module}.py", ns=(1, 1))
    assert DescriptionCache(path).key(ref, table) != before


@pytest.mark.parametrize("changed", ["__init__.py", "engine.py", "inner/__init__.py", "inner/deep.py"])
def test_every_module_of_a_package_counts_and_none_is_imported(changed, shop, tmp_path):
    package = shop.folder / "plugin_deep"
    (package / "inner").mkdir(parents=True)
    for name in ("__init__.py", "engine.py", "inner/__init__.py", "inner/deep.py"):
        (package / name).write_text("raise SystemExit")
    ref = PluginRef("deep", "plugin_deep.inner:plugin", "deep", "1")
    cache = DescriptionCache(tmp_path / "plugins.json")
    before = cache.key(ref, {})
    os.utime(package / changed, ns=(1, 1))
    assert cache.key(ref, {}) != before


def test_a_module_that_comes_or_goes_counts(shop, tmp_path):
    package = shop.folder / "plugin_deep"
    package.mkdir()
    (package / "__init__.py").write_text("")
    ref = PluginRef("deep", "plugin_deep", "deep", "1")
    cache = DescriptionCache(tmp_path / "plugins.json")
    before = cache.key(ref, {})
    (package / "engine.py").write_text("")
    assert cache.key(ref, {}) != before


async def test_an_engine_that_is_unavailable_is_asked_again(shop, tmp_path):
    server = tmp_path / "server"
    shop.engine(
        "alpha",
        f"""
        def availability(self):
            from pathlib import Path
            from studio_worker import Available, Unavailable
            return Available() if Path({str(server)!r}).exists() else Unavailable("its server does not run")
        """,
    )
    assert (await shop.described_one(cache=DescriptionCache(tmp_path / "plugins.json"))).status == "unavailable"
    server.touch()
    assert (await shop.described_one(cache=DescriptionCache(tmp_path / "plugins.json"))).status == "available"


async def test_a_broken_plugin_is_never_remembered(shop, tmp_path):
    path = tmp_path / "plugins.json"
    shop.make("bad", "raise ImportError")
    await shop.described(cache=DescriptionCache(path))
    assert not path.exists() or json.loads(path.read_text()) == {}


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe", b'{"k": 1}', b"[" * 100_000])
async def test_a_damaged_cache_is_an_empty_one(content, shop, tmp_path):
    path = tmp_path / "plugins.json"
    path.write_bytes(content)
    shop.engine("alpha")
    assert (await shop.described_one(cache=DescriptionCache(path))).status == "available"
    assert len(json.loads(path.read_text())) == 1


async def test_a_cache_whose_folder_cannot_be_made_only_remembers_nothing(shop, tmp_path):
    (tmp_path / "file").write_text("")
    shop.engine("alpha")
    engine = await shop.described_one(cache=DescriptionCache(tmp_path / "file" / "plugins.json"))
    assert engine.status == "available"
