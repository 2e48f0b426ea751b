"""Results that are kept."""

from dataclasses import replace

import pytest

from studio_worker.jobs.results import Artifact, Kept
from studio_worker.wire.kinds import TaskKind


@pytest.fixture
def at_hand(entry, tmp_path):
    """A result whose bytes are in memory and in a file."""
    file = tmp_path / "spooled"
    file.write_bytes(b"abc")
    artifact = Artifact(kind=TaskKind.IMAGE, size=3, ext="png", data=b"abc")
    return Kept(entry=entry(), artifact=artifact, kept_at=0.0, spooled=file)


def test_a_small_result_is_at_hand_and_in_its_file(at_hand):
    assert at_hand.at_hand == at_hand.file.read_bytes() == b"abc"


def test_a_result_that_is_laid_by_is_in_its_file_alone(at_hand):
    laid = at_hand.laid_by()
    assert laid.at_hand is None
    assert laid.file == at_hand.file
    assert laid.entry is at_hand.entry


def test_laying_by_what_is_in_its_file_alone_changes_nothing(at_hand):
    laid = at_hand.laid_by()
    assert laid.laid_by() is laid


def test_a_json_result_has_no_file_and_cannot_be_laid_by(kept_json):
    kept = kept_json()
    assert kept.laid_by() is kept
    assert kept.at_hand is None
    with pytest.raises(TypeError, match="job-1"):
        _ = kept.file


def test_the_bytes_of_a_local_result_stay_where_they_are(at_hand):
    local = replace(at_hand, spooled=None)
    assert local.laid_by().at_hand == b"abc"
