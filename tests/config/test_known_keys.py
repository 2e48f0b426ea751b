from __future__ import annotations

import pytest

from studio_worker.config.known_keys import LEGACY, nearest
from studio_worker.config.model import setting_fields

KEYS = tuple(setting_fields())


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("modles_root", "models_root"),
        ("models-root", "models_root"),
        ("MAX_CONCURRENT_JOBS", "max_concurrent_jobs"),
        ("vram_treshold", "vram_threshold_gb"),
        ("reconnect_secs", "reconnect_base_secs"),
        ("hf_tokn", "hf_token"),
    ],
)
def test_a_misspelt_key_is_recognised(written: str, meant: str) -> None:
    assert nearest(written, KEYS) == meant


@pytest.mark.parametrize("written", ["", "zzzz", "42", "x" * 1_000_000])
def test_what_is_near_nothing_is_left_alone(written: str) -> None:
    assert nearest(written, KEYS) is None


def test_no_setting_is_a_key_of_the_older_worker_too() -> None:
    assert not LEGACY & set(KEYS)
