from __future__ import annotations

from pathlib import Path

import pytest

from studio_worker.config import Config
from studio_worker.errors import ModelUnavailable
from studio_worker.fetch.guard import Guard
from studio_worker.models.files import LoadOptions
from studio_worker.models.ledger import Ledger
from studio_worker.models.settings import downloads, guard, open_store
from studio_worker.wire.model_source import parse_model_source


def test_token_mirrors_and_offline_come_from_the_settings():
    settings = Config(
        hf_token="hf_secret",
        model_mirrors={"huggingface.co": "https://mirror.example/hf"},
        models_offline=True,
    )
    found = downloads(settings)
    assert (found.hub_token, found.is_offline) == ("hf_secret", True)
    assert found.mirrors == {"huggingface.co": ("https://mirror.example/hf",)}
    assert "hf_secret" not in repr(found)


def test_without_a_token_there_is_none():
    assert downloads(Config()).hub_token is None


def test_the_guard_allows_the_studios_origin_and_what_the_operator_allows():
    closed = frozenset({("127.0.0.1", 4787)})
    settings = Config(api_base_url="https://studio.example/sub/", allow_private_urls=True)
    assert guard(settings, closed=closed) == Guard("https://studio.example", allow_private=True, closed=closed)
    assert guard(Config(api_base_url=None)) == Guard(None)


async def test_the_store_follows_the_settings_of_the_moment(tmp_path: Path):
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "a.bin").write_bytes(b"x")
    now = [Config(models_root=tmp_path / "one", state_dir=tmp_path / "state", models_offline=True)]
    store = open_store(lambda: now[0], guard=lambda: Guard(None), user_agent="test")
    file = {"role": "model", "url": "https://files.example/a.bin", "filename": "a.bin"}
    source = parse_model_source({"engine": "onnx", "files": [file]})
    with pytest.raises(ModelUnavailable, match="models_offline = true"):
        await store.provision("m", source, LoadOptions())
    now[0] = Config(models_root=tmp_path / "two", state_dir=tmp_path / "state")
    found = await store.provision("m", source, LoadOptions())
    assert found.files["model"] == [tmp_path / "two" / "a.bin"]
    assert Ledger.of(tmp_path / "state").in_use() == {tmp_path / "two" / "a.bin"}
    await store.aclose()
