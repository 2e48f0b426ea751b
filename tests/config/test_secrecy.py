"""What is taken for a secret, by its key and by where it stands."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from studio_worker.config.secrecy import MAX_SECRETS, holds_secrets, is_secret, masked, plugin_secrets

SECRET = (
    "api-key api_key apiKey APIKey apikey access_key accessToken X-Api-Key key keys key2 signing.key private-key "
    "hf_token hftoken token tokens TOKEN refreshToken secret Secret client_secret secret_key_base "
    "AWS_SECRET_ACCESS_KEY password db_password dbpassword password1 passwd pwd db.pwd passphrase smtp_pass "
    "credentials cookie session_cookie bearer auth basic_auth oauth Authorization authorization_header"
)
HARMLESS = (
    "max_tokens max-tokens maxTokens max_new_tokens eos_token tokenizer token_limit tokens_per_second keyboard monkey "
    "turkey hotkey hot_key sort_key public_key max_key key_size author authors authority auth_type api_key_env "
    "password_file secret_name credentials_path secretary compass bypass low_pass signal url name model device"
)


@pytest.mark.parametrize("key", SECRET.split())
def test_a_secret_is_known_by_its_key_however_that_is_written(key: str) -> None:
    assert is_secret(key)


@pytest.mark.parametrize("key", ["", "_", "\u0130", *HARMLESS.split()])
def test_a_harmless_key_is_left_alone(key: str) -> None:
    assert not is_secret(key)


@pytest.mark.parametrize(
    ("path", "value", "shown"),
    [
        ("hf_token", SecretStr("x"), "***"),
        ("hf_token", None, None),
        ("models_root", Path("/m"), "/m"),
        ("disabled_engines", ("a", "b"), ["a", "b"]),
        ("machine_name", "a@b", "a@b"),
        ("plugins.x.api-key", "x", "***"),
        ("plugins.x.api_key", "", ""),
        ("plugins.x.tokens", ["a", "b"], ["***", "***"]),
        ("plugins.x.max_tokens", "512", "512"),
        ("plugins.x.credentials", {"who": "a", "n": 1}, {"who": "***", "n": 1}),
        (
            "plugins",
            {"x": {"headers": {"X-Api-Key": "y", "Accept": "z"}}},
            {"x": {"headers": {"X-Api-Key": "***", "Accept": "z"}}},
        ),
        ("plugins", {"token": {"device": "cpu"}}, {"token": {"device": "cpu"}}),
        ("engine_preferences", {"my-key": "onnx"}, {"my-key": "onnx"}),
        ("auto_update_feed", "https://u:p@h/", "https://***@h/"),
        ("auto_update_feed", "https://u:p@q@h/", "https://***@h/"),
        ("plugins.x.url", "https://h/?a=b&token=c#d=e", "https://h/?a=***&token=***#d=***"),
        ("plugins.x.command", "serve --at https://u:p@h/?t=1 now", "serve --at https://***@h/?t=*** now"),
        ("plugins.x.url", "https://h/@x?", "https://h/@x?"),
    ],
)
def test_what_is_shown_of_a_setting(path: str, value: Any, shown: Any) -> None:
    found = masked(tuple(path.split(".")), value)
    assert found == shown
    json.dumps(found)


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("[plugins.x]\nkeys = ['a']", True),
        ("[plugins.x.credentials]\nwho = 'a'", True),
        ("[plugins.x]\nurl = 'https://me:pw@h/'", True),
        ("[plugins.token]\ndevice = 'cpu'", False),
        ("plugins = 3", False),
        (".".join("a" * 5_000) + " = 'x'", False),
    ],
)
def test_a_file_with_a_secret_at_any_depth_is_known(text: str, holds: bool) -> None:
    assert holds_secrets(tomllib.loads(text)) is holds


def test_the_secrets_of_plugins_are_those_that_can_be_told_from_other_text() -> None:
    table = {
        "api-key": "canary-key",
        "short_key": "1234567",
        "max_tokens": "a text that is no secret",
        "device": "cuda:0 and more",
        "Authorization": "Bearer canary-bearer",
        "keys": ["canary-in-list", 7],
        "url": "https://me:canary-password@h/?sig=canary-query&page=canary-no",
        "number_key": 12345678901,
    }
    assert set(plugin_secrets({"x": table, "y": {"token": "canary-key"}})) == {
        "canary-key",
        "Bearer canary-bearer",
        "canary-bearer",
        "canary-in-list",
        "canary-password",
        "canary-query",
    }


def test_no_more_secrets_are_looked_for_than_the_bound() -> None:
    assert len(plugin_secrets({"x": {"keys": [f"canary-{number}" for number in range(1_000)]}})) == MAX_SECRETS
