from __future__ import annotations

from pathlib import Path

import pytest

from studio_worker import Cancelled, LlmTask, ModelSource
from studio_worker.testing import engine_job
from studio_worker.wire.tasks import parse_task


@pytest.fixture
def task() -> LlmTask:
    task = parse_task({"kind": "llm", "messages": [{"role": "user", "content": "hello"}]})
    assert isinstance(task, LlmTask)
    return task


def test_a_job_has_what_an_engine_may_use(task: LlmTask, tmp_path: Path) -> None:
    model = tmp_path / "model.bin"
    source = ModelSource(engine="den")
    with engine_job(task, model="fox", source=source, seed=7, files={"model": [model]}, loaded="warm") as job:
        assert (job.task, job.model, job.source, job.seed) == (task, "fox", source, 7)
        assert (job.files, job.loaded, job.meta) == ({"model": [model]}, "warm", {})
        job.log.debug("quiet")


def test_its_folder_goes_with_the_block(task: LlmTask) -> None:
    with engine_job(task) as job:
        (job.work_dir / "result").write_text("x")
    assert not job.work_dir.exists()


def test_inputs_are_files_given_by_path_or_by_their_bytes(task: LlmTask, tmp_path: Path) -> None:
    with engine_job(task, inputs={"image": b"bytes", "mask": tmp_path / "mask.png"}) as job:
        assert job.inputs["image"].read_bytes() == b"bytes"
        assert job.inputs["mask"] == tmp_path / "mask.png"


def test_a_cancelled_job_says_so(task: LlmTask) -> None:
    with engine_job(task, is_cancelled=True) as job, pytest.raises(Cancelled):
        job.check_cancelled()
    with engine_job(task) as job:
        job.check_cancelled()


def test_its_progress_is_told_to_the_test(task: LlmTask) -> None:
    told: list[tuple[int, int, str]] = []
    with engine_job(task, progress=told) as job:
        job.progress(1, 3, stage="draw")
        job.progress(3, 3)
    assert told == [(1, 3, "draw"), (3, 3, "run")]
