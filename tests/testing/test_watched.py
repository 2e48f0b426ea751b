"""The engine that the kit puts in an engine's place: it tells the same of itself, and leaves the process as it was."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from broken.good import Good

from studio_worker import Needs
from studio_worker.engines.base import DECLARED
from studio_worker.engines.self_report import report_of
from studio_worker.testing.conformance import watched
from studio_worker.testing.conformance.watched import Watched


class Needy(Good):
    sources = ("good", "better")
    isolation = "thread"
    needs = Needs(gpu="nvidia")


def test_a_watched_engine_tells_of_itself_what_the_engine_does(tmp_path: Path) -> None:
    assert report_of(Watched(Needy(), tmp_path)) == report_of(Needy())


def test_what_an_engine_declares_is_all_in_its_report() -> None:
    assert set(DECLARED) <= set(report_of(Good()))


def test_what_goes_wrong_before_a_run_leaves_the_descriptors_where_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails() -> None:
        raise OSError("too many open files")

    monkeypatch.setattr(watched, "look", fails)
    (tmp_path / "job-1.count").touch()
    before = [os.fstat(number) for number in (1, 2)]
    with pytest.raises(OSError, match="too many open files"):
        Watched(Good(), tmp_path).run(SimpleNamespace(id="job-1"))  # type: ignore[arg-type]
    assert [os.path.samestat(os.fstat(number), was) for number, was in zip((1, 2), before, strict=True)] == [True, True]
