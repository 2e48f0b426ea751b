"""The synthetic engine as the worker sees it."""

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import studio_worker
from studio_worker.engines.base import RESULT_TYPES
from studio_worker.engines.entry_points import PluginRef
from studio_worker.engines.output import check_output
from studio_worker.engines.plugins import describe_each
from studio_worker.engines.synthetic import SyntheticEngine
from studio_worker.errors import Cancelled
from studio_worker.wire.kinds import TaskKind


def test_it_advertises_the_ids_that_studios_know_and_no_others():
    assert dict(SyntheticEngine().capabilities().models) == {
        TaskKind.IMAGE: ("synthetic", "synthetic-image"),
        TaskKind.LLM: ("synthetic", "synthetic-llm"),
        TaskKind.AUDIO_STT: ("synthetic", "synthetic-stt"),
        TaskKind.AUDIO_TTS: ("synthetic", "synthetic-tts"),
        TaskKind.VIDEO: ("synthetic", "synthetic-video"),
    }


def test_its_entry_point_stands_in_the_projects_metadata():
    project = Path(studio_worker.__file__).parents[1] / "pyproject.toml"
    if project.is_file():
        assert 'synthetic = "studio_worker.engines.synthetic"' in project.read_text()
    else:
        assert "synthetic" in metadata.entry_points(group="studio_worker").names


async def test_it_comes_through_the_same_door_as_every_plugin():
    ref = PluginRef("synthetic", "studio_worker.engines.synthetic", "studio-worker", "1")
    ((engine,),) = await describe_each([ref], {})
    assert (engine.name, engine.status, engine.is_synthetic, engine.deterministic) == (
        "synthetic",
        "available",
        True,
        True,
    )


@pytest.mark.parametrize("kind", list(TaskKind))
def test_every_kind_gives_a_result_that_passes_the_hosts_check(kind, bench, sound):
    result = bench.make(kind.value, inputs={"audio": sound()})
    assert isinstance(result, RESULT_TYPES[kind])
    assert check_output("synthetic", kind, result, {}, bench.folder).result == result


@pytest.mark.parametrize("kind", list(TaskKind))
def test_the_same_task_gives_the_same_bytes_whatever_the_seed(kind, bench, sound):
    audio = sound()
    results = [bench.make(kind.value, inputs={"audio": audio}, seed=seed) for seed in (1, 2)]
    assert results[0] == results[1]


@pytest.mark.parametrize("kind", list(TaskKind))
def test_progress_rises_to_its_total(kind, bench, sound):
    bench.make(kind.value, inputs={"audio": sound()})
    steps = [report[0] for report in bench.progress]
    assert steps == sorted(steps)
    assert steps[-1] == bench.progress[-1][1] > 0


@pytest.mark.parametrize("kind", list(TaskKind))
def test_a_cancelled_job_stops(kind, bench, sound):
    audio = sound()
    bench.cancel.set()
    with pytest.raises(Cancelled):
        bench.make(kind.value, inputs={"audio": audio})


@pytest.mark.parametrize("kind", [TaskKind.IMAGE, TaskKind.VIDEO])
def test_a_small_preview_is_shown_on_the_way(kind, bench):
    bench.make(kind.value)
    previews = [report[3] for report in bench.progress if report[3]]
    assert previews
    assert all(preview.startswith(b"\xff\xd8\xff") and len(preview) < 32 * 1024 for preview in previews)


def test_results_do_not_depend_on_the_process_that_makes_them(bench):
    code = (
        "import hashlib\nfrom pathlib import Path\n"
        "from studio_worker.engines.base import EngineJob\n"
        "from studio_worker.engines.synthetic import SyntheticEngine\n"
        "from studio_worker.log import logger\n"
        "from studio_worker.wire.tasks import parse_task\n"
        "task = parse_task({'kind': 'image', 'prompt': 'a lighthouse at dusk'})\n"
        "job = EngineJob(id='j', model='m', task=task, seed=9, work_dir=Path(), log=logger)\n"
        "print(hashlib.sha256(SyntheticEngine().run(job).data).hexdigest())"
    )
    home = Path(studio_worker.__file__).parents[1]
    digests = {
        subprocess.run(
            [sys.executable, "-c", code], cwd=home, env={"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1
