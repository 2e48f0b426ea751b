"""Results that are kept."""

import pytest

from studio_worker.jobs.results import Artifact, Kept, Memory
from studio_worker.wire.kinds import TaskKind


@pytest.fixture
def small(entry, tmp_path):
    """A result whose bytes are on their way to their file."""
    artifact = Artifact(kind=TaskKind.IMAGE, size=3, ext="png", data=tmp_path / "spooled")
    return Kept(entry=entry(), artifact=artifact, kept_at=0.0, memory=Memory(b"abc"))


def test_small_bytes_are_at_hand_until_they_are_in_their_file(small):
    assert small.at_hand == b"abc"
    small.memory.data = None
    assert small.at_hand is None


def test_a_result_knows_its_file_before_it_is_written(small, tmp_path):
    assert small.file == tmp_path / "spooled"
    assert not small.file.exists()


def test_a_json_result_has_no_file_and_no_bytes(kept_json):
    kept = kept_json()
    assert kept.at_hand is None
    with pytest.raises(TypeError, match="job-1"):
        _ = kept.file
