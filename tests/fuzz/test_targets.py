"""What `make fuzz` feeds for hours, fed here for a moment: samples are read, and all else is refused in its own way."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spoiled import damaged

from tests.fuzz.target import Target
from tests.fuzz.targets import TARGETS


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzzed")


@pytest.fixture(params=sorted(TARGETS), scope="module")
def fed(request: pytest.FixtureRequest) -> Target:
    return TARGETS[request.param]


def test_a_sound_sample_is_read(fed: Target, folder: Path) -> None:
    assert fed.seeds
    assert all(fed.takes(seed, folder) for seed in fed.seeds)


def test_a_hostile_sample_is_refused(fed: Target, folder: Path) -> None:
    assert not any(fed.takes(sample, folder) for sample in fed.hostile)


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=100, print_blob=True)
@given(data=st.data())
def test_a_damaged_sample_is_read_or_refused_and_nothing_else_happens(
    fed: Target, folder: Path, data: st.DataObject
) -> None:
    samples = st.sampled_from(fed.seeds + fed.hostile)
    fed.takes(data.draw(samples.flatmap(damaged) | st.binary(max_size=100)), folder)
