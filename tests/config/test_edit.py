from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio_worker.config.edit import Edit
from studio_worker.config.toml_file import TomlFile
from studio_worker.errors import ConfigError

NAMES = st.from_regex(r"[A-Za-z0-9_-]{1,12}", fullmatch=True)
VALUES = st.one_of(
    st.booleans(),
    st.integers(min_value=-(2**63), max_value=2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(codec="utf-8", exclude_characters="\r")),
    st.lists(st.integers(min_value=0, max_value=9), max_size=3),
)
COMMENTED = """# head

a = 1 # one
[plugins.piper] # voices
voice = "x"   # mine

[plugins.whisper]
threads = 2
# tail
"""


def file(text: str) -> TomlFile:
    return TomlFile(Path("config.toml"), text, tomllib.loads(text), None)


def changed(text: str, path: tuple[str, ...], value: Any) -> str:
    return Edit(path, value).applied(file(text)).text


@given(name=NAMES, value=VALUES)
def test_any_value_can_be_set_and_read_back(name: str, value: Any) -> None:
    text = changed(COMMENTED, (name,), value) if name != "plugins" else COMMENTED
    assert name == "plugins" or repr(tomllib.loads(text)[name]) == repr(value)
    for comment in ("# head", "# voices", "# mine", "# tail"):
        assert comment in text


@given(plugin=NAMES, name=NAMES, value=VALUES)
def test_any_value_can_be_set_inside_any_plugins_table(plugin: str, name: str, value: Any) -> None:
    found = tomllib.loads(changed(COMMENTED, ("plugins", plugin, name), value))
    assert repr(found["plugins"][plugin][name]) == repr(value)
    assert found["a"] == 1
    assert found["plugins"]["piper"]["voice"] == "x" or (plugin, name) == ("piper", "voice")


@given(name=NAMES, value=VALUES)
def test_setting_and_removing_again_leaves_the_other_keys(name: str, value: Any) -> None:
    if name in ("a", "plugins"):
        return
    text = changed(changed(COMMENTED, (name,), value), (name,), None)
    assert tomllib.loads(text) == tomllib.loads(COMMENTED)


@pytest.mark.parametrize(
    "text",
    [
        'plugins = { piper = { voice = "x" } }\n',
        '[plugins]\npiper.voice = "x"\n',
        '[plugins.piper]\nvoice = "x"\n[other]\nb = 1\n[plugins.whisper]\nthreads = 1\n',
    ],
)
def test_a_table_may_be_written_in_any_form(text: str) -> None:
    found = tomllib.loads(changed(text, ("plugins", "piper", "speed"), 2))
    assert found["plugins"]["piper"] == {"voice": "x", "speed": 2}


@pytest.mark.parametrize(
    "text",
    [
        'plugins.piper.voice = "x"\nhf_token = "y"\n',
        'engine_preferences.onnx = "lama"\nplugins."a b".c = { d = 1 }\nauto_start = true\n',
    ],
)
def test_a_change_that_would_move_another_setting_into_its_table_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"cannot be changed in place: set plugins\.llama\.gpu_layers by hand"):
        changed(text, ("plugins", "llama", "gpu_layers"), 3)


def test_a_key_inside_what_is_no_table_is_refused_for_doing_by_hand() -> None:
    with pytest.raises(ConfigError, match=r"cannot be changed in place: set plugins\.piper\.voice by hand"):
        changed("plugins = 5\n", ("plugins", "piper", "voice"), "x")


def test_only_the_changed_line_differs() -> None:
    before, after = COMMENTED.splitlines(), changed(COMMENTED, ("a",), 2).splitlines()
    assert [(old, new) for old, new in zip(before, after, strict=True) if old != new] == [
        ("a = 1 # one", "a = 2 # one")
    ]
