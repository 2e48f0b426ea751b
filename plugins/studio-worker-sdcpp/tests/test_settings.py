from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from studio_worker_sdcpp import studio_worker_engines
from studio_worker_sdcpp.settings import Settings

from studio_worker import PluginConfig

GOOD = {
    "threads": 8,
    "flash_attention": False,
    "vae_tiling": True,
    "vae_on_cpu": True,
    "text_encoder_on_cpu": True,
    "mmap": True,
    "max_vram_gb": 7.5,
    "previews": False,
    "max_frames": 81,
}


def test_every_key_of_the_table_is_taken() -> None:
    assert set(GOOD) == {field.name for field in fields(Settings)}
    settings = Settings.from_table(GOOD)
    assert {name: getattr(settings, name) for name in GOOD} == GOOD


def test_an_empty_table_means_the_defaults() -> None:
    assert Settings.from_table({}) == Settings()


def test_whole_gibibytes_are_a_number_too() -> None:
    assert Settings.from_table({"max_vram_gb": 8}).max_vram_gb == 8


@pytest.mark.parametrize(
    ("name", "value", "must"),
    [
        ("threads", 0, "a whole number from 1 to 10000"),
        ("threads", True, "a whole number from 1 to 10000"),
        ("threads", 2.0, "a whole number from 1 to 10000"),
        ("max_frames", -1, "a whole number from 1 to 10000"),
        ("max_frames", "many", "a whole number from 1 to 10000"),
        ("max_vram_gb", -1, "a number of GiB"),
        ("max_vram_gb", float("nan"), "a number of GiB"),
        ("max_vram_gb", False, "a number of GiB"),
        ("flash_attention", 1, "true or false"),
        ("previews", "yes", "true or false"),
        ("mmap", None, "true or false"),
    ],
)
def test_a_wrong_value_is_refused_by_its_key(name: str, value: Any, must: str) -> None:
    with pytest.raises(ValueError, match=rf"^plugins\.sdcpp\.{name} must be {must}.*, not {value!r}$"):
        studio_worker_engines(PluginConfig({name: value}))


def test_an_unknown_key_is_refused_with_the_nearest_known_one() -> None:
    with pytest.raises(ValueError, match=r"plugins\.sdcpp\.thread is not known; did you mean threads\?"):
        Settings.from_table({"thread": 1})


def test_a_key_like_none_is_refused_with_all_known_ones() -> None:
    with pytest.raises(ValueError, match=r"plugins\.sdcpp\.zzz is not known; threads, flash_attention"):
        Settings.from_table({"zzz": 1})


def test_the_readme_shows_every_key_with_its_default() -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    shown = dict(
        line.split("#")[0].split(" = ") for line in readme.splitlines() if line.startswith("    ") and " = " in line
    )
    told = {name.strip(): value.strip() for name, value in shown.items()}
    assert told.pop("threads") == "8"
    defaults = Settings()
    assert told == {
        field.name: str(getattr(defaults, field.name)).lower() for field in fields(Settings) if field.name != "threads"
    }
