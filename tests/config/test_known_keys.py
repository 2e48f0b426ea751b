from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr

from studio_worker.config.known_keys import LEGACY, nearest, secrets_in
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


@pytest.mark.parametrize(
    ("table", "found"),
    [
        ({"api_key": "k", "token": "t", "db_password": "p"}, ["k", "t", "p"]),
        ({"plugins": {"x": {"client_secret": "s"}}}, ["s"]),
        ({"credentials": {"user": "u", "words": ["a", "b"]}}, ["u", "a", "b"]),
        ({"servers": [{"token": "t"}, {"url": "https://me:pass@h/"}]}, ["t", "pass"]),
        ({"hf_token": SecretStr("hf")}, ["hf"]),
        ({"max_tokens": 5, "tokenizer": "bpe", "tokeniser": "bpe", "monkey": "m", "url": "http://[a@b"}, []),
    ],
)
def test_a_text_is_secret_by_its_key_or_as_a_urls_password(table: dict[str, Any], found: list[str]) -> None:
    assert list(secrets_in(table)) == found


def test_no_setting_is_a_key_of_the_older_worker_too() -> None:
    assert not LEGACY & set(KEYS)
