from __future__ import annotations

from pathlib import Path

import pytest

from studio_worker.state import Credentials, CredentialStore

ORIGIN = "https://studio.example"


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def store(state_dir: Path) -> CredentialStore:
    return CredentialStore(state_dir, ORIGIN)


@pytest.fixture
def approved() -> Credentials:
    return Credentials(ORIGIN, install_id="i-1", worker_id="w-1", auth_token="hunter2")
