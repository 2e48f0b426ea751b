from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio_worker.config import BadSetting, Config
from studio_worker.config.loading import variable
from studio_worker.config.model import setting_fields
from studio_worker.config.text_values import parse_number, parse_text
from studio_worker.errors import ConfigError

FIELDS = setting_fields()


def parse(key: str, text: str) -> Any:
    return parse_text(key, FIELDS[key], text)


@pytest.mark.parametrize("text", ["true", "1", "yes", "on", "TRUE", " Yes "])
def test_words_for_true(text: str) -> None:
    assert parse("auto_start", text) is True


@pytest.mark.parametrize("text", ["false", "0", "no", "off", "OFF"])
def test_words_for_false(text: str) -> None:
    assert parse("auto_start", text) is False


@pytest.mark.parametrize("text", ["2", "y", "wahr", "truе"])
def test_another_word_is_no_flag(text: str) -> None:
    with pytest.raises(BadSetting, match="true or false, also 1, 0, yes, no, on, off"):
        parse("auto_start", text)


@pytest.mark.parametrize("text", ["١٢", "1e3", "1_000", "12.0", "0x10", "½", "１２", "", "--1", "1" * 21])
def test_a_whole_number_needs_ascii_digits(text: str) -> None:
    with pytest.raises(BadSetting, match="whole number from 1 to 1024 in ASCII digits"):
        parse("max_concurrent_jobs", text)


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "infinity", "1e400", "١", "1_0", "0x1p3", "1,5", ".", "e5"])
def test_a_number_must_be_finite_and_in_ascii_digits(text: str) -> None:
    with pytest.raises(BadSetting, match="in ASCII digits"):
        parse("vram_threshold_gb", text)


def test_a_list_is_comma_separated() -> None:
    assert parse("disabled_engines", " onnx, llama ,,") == ["onnx", "llama"]


def test_a_list_may_be_json() -> None:
    assert parse("disabled_engines", '["a,b", "c"]') == ["a,b", "c"]


def test_a_list_that_is_broken_json_is_refused() -> None:
    with pytest.raises(BadSetting, match="comma-separated or as JSON"):
        parse("disabled_engines", "[oops")


def test_a_table_is_a_json_object() -> None:
    assert parse("plugins", '{"piper": {"voice": "a"}}') == {"piper": {"voice": "a"}}


@pytest.mark.parametrize("text", ["[]", "a=b", '{"a": 1, "a": 2}', "[" * 100_000])
def test_another_text_is_no_table(text: str) -> None:
    with pytest.raises(BadSetting, match="as JSON"):
        parse("plugins", text)


def test_text_is_taken_as_it_is() -> None:
    assert parse("machine_name", " a b ") == " a b "


def test_a_path_is_text() -> None:
    assert parse("models_root", "~/m") == "~/m"


def test_the_refusal_never_shows_what_was_given() -> None:
    with pytest.raises(BadSetting) as caught:
        parse("local_api_port", "hunter2")
    assert "hunter2" not in str(caught.value)


@given(st.integers(min_value=1, max_value=1_024))
def test_every_whole_number_in_range_comes_back(number: int) -> None:
    assert parse("max_concurrent_jobs", str(number)) == number


@given(st.floats(min_value=0, max_value=1e6, allow_nan=False))
def test_every_number_that_python_writes_comes_back(number: float) -> None:
    assert parse_number(repr(number)) == number


@given(st.text())
def test_what_is_read_as_a_number_is_finite_ascii(text: str) -> None:
    number = parse_number(text)
    assert number is None or (math.isfinite(number) and text.isascii())


@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1)))
def test_every_list_comes_back_through_json(names: list[str]) -> None:
    assert parse("disabled_engines", json.dumps(names)) == names


@given(key=st.sampled_from(sorted(FIELDS)), text=st.text(st.characters(codec="utf-8", exclude_characters="\0")))
def test_any_text_in_any_variable_gives_a_config_or_names_the_variable(key: str, text: str) -> None:
    environ = {"HOME": "/nowhere", variable(key): text}
    said = ""
    try:
        Config.load(Path("/nowhere/config.toml"), environ)
    except ConfigError as error:
        said = str(error)
    assert not said or said.startswith(variable(key))
    assert "\n" not in said
