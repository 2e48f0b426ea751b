"""Parsers of the files beside a worker: settings, credentials, the local API's address, certificates."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from studio_worker.config import Config
from studio_worker.config.edit import Edit
from studio_worker.config.toml_file import read_toml
from studio_worker.engines.certificates import BadCertificate, Certificate, FoundCertificate, newest_first
from studio_worker.engines.certificates import read_certificate as read_certificate_file
from studio_worker.errors import ConfigError
from studio_worker.local_api.discovery import Discovery, read_discovery
from studio_worker.state import CredentialStore
from tests.engines.packages import certificate as certificate_of
from tests.fuzz.changes import change_json
from tests.fuzz.target import placed, reread, target
from tests.state.test_credential_store import ORIGIN, OTHER
from tests.state.test_credential_store import SOUND as CREDENTIALS

SETTINGS = """\
# A machine of the farm.
api_base_url = "https://studio.example/"
vram_threshold_gb = 12.0
models_root = "~/models"
max_concurrent_jobs = 2
disabled_engines = ["synthetic"]
auto_start = true

[engine_preferences]
onnx = "lama"

[plugins.llama]
gpu_layers = 20
device = 'cuda:0'
"""
STRANGE_SETTINGS = (
    'hf_token = "x\\u00e9"\r\nplugins."a b".c = {d = [1, {e = 1979-05-27T07:32:00Z}], f = """\nlong""" }\n'
)
EDITS = (
    Edit(("vram_threshold_gb",), 8.0),
    Edit(("auto_start",), None),
    Edit(("plugins", "llama", "gpu_layers"), 3),
    Edit(("engine_preferences", "onnx"), "other"),
)


@target(ConfigError, seeds=[SETTINGS, "", "\n# nothing\n"], through=("tomllib",))
def config(data: bytes, folder: Path) -> None:
    found = Config.load(placed(data, folder, "config.toml"), {"HOME": "/home/ann"})
    assert all(isinstance(device, str) for device in found.devices.values())
    assert found.models_path.is_absolute()
    assert found.models_quota_bytes is None or found.models_quota_bytes >= 0
    assert found.certificates_path.parts
    if found.api_base_url is not None:
        assert found.urls.api.startswith(found.urls.origin)


@target(ConfigError, seeds=[SETTINGS, STRANGE_SETTINGS, ""], through=("tomllib", "tomlkit"))
def config_edit(data: bytes, folder: Path) -> None:
    file = read_toml(placed(data, folder, "edited.toml"))
    for edit in EDITS:
        edited = edit.applied(file)
        # By their text, since a NaN is not equal to itself.
        assert _others(edited.table, edit.path) == _others(file.table, edit.path)


def _others(table: dict[str, Any], path: tuple[str, ...]) -> str:
    """Everything but what stands at `path`, and the tables on the way to it that hold nothing else."""
    rest = copy.deepcopy(table)
    way = [rest]
    for name in path[:-1]:
        way.append(way[-1].get(name, {}))
    way[-1].pop(path[-1], None)
    for above, name in reversed(list(zip(way, path[:-1], strict=False))):
        if not above.get(name, True):
            del above[name]
    return repr(sorted(rest.items()))


@target(ConfigError, seeds=[json.dumps(CREDENTIALS), json.dumps({"version": 1})], change=change_json)
def credentials(data: bytes, folder: Path) -> None:
    folder.chmod(0o700)
    placed(data, folder, "credentials.json")
    for origin in (ORIGIN, OTHER):
        found = CredentialStore(folder, origin).load()
        assert found.origin == origin
        assert all(value.isascii() and value.isprintable() for value in found.to_json().values())


@target(
    ConfigError,
    seeds=[json.dumps({"url": "http://127.0.0.1:4787", "token": "01" * 32})],
    change=change_json,
)
def discovery(data: bytes, folder: Path) -> None:
    found = read_discovery(placed(data, folder, "local-api.json"))
    assert isinstance(found, Discovery)
    assert 0 < found.port < 65_536


@target(BadCertificate, seeds=[json.dumps(certificate_of())], change=change_json)
def certificate(data: bytes, folder: Path) -> None:
    path = placed(data, folder, "fox-1.0.json")
    found = read_certificate_file(path)
    newest_first(FoundCertificate(path, found))
    assert reread(Certificate.model_validate_json, json.dumps(found.to_json())) == found
