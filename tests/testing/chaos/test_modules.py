import subprocess
import sys

import pytest

from studio_worker import EngineError
from studio_worker.engines.loading import engines_of
from studio_worker.testing import chaos
from studio_worker.testing.chaos.modules import FAULTS

FOX = """
from studio_worker.testing.chaos import Alone

class Fox(Alone):
    name = "chaos"
    def run(self, job):
        job.meta["fox"] = True
        return super().run(job)

def make():
    return [Fox()]
"""


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_can_be_made_from_a_module(in_folder, fault):
    (engine,) = engines_of(chaos.in_process(in_folder, fault))
    assert isinstance(engine, chaos.Fault)


async def test_an_engine_of_ones_own_is_spoiled_in_a_process(worker_with, order, in_folder):
    (in_folder / "fox_engine.py").write_text(FOX)
    engine = chaos.in_process(in_folder, "crash", "fox_engine:make", on_job=1)
    async with worker_with(engine) as worker:
        with pytest.raises(EngineError, match="status 3"):
            await order(worker, "image")
        job = order(worker, "image")
        await job
        assert job.meta["fox"]


def test_options_that_are_paths_and_texts_with_quotes_go_through(in_folder, tmp_path):
    folder = tmp_path / 'it\'s "here"'
    folder.mkdir()
    (engine,) = engines_of(chaos.in_process(in_folder, "leak", what="files", tally=folder / "tally", on_job=(1, 3)))
    assert engine.tally.jobs == 0
    assert engine._what == "files"


def test_two_faults_of_one_test_do_not_share_a_module(in_folder):
    assert chaos.in_process(in_folder, "slow", secs=1) != chaos.in_process(in_folder, "slow", secs=2)


def test_a_fault_that_does_not_exist_is_refused_with_those_that_do(in_folder):
    with pytest.raises(ValueError, match="'burn'; there are slow, hang, leak"):
        chaos.in_process(in_folder, "burn")


@pytest.mark.parametrize("engine", ["fox", "fox:", ":make", ""])
def test_an_engine_that_is_no_factory_is_refused(in_folder, engine):
    with pytest.raises(ValueError, match=r"package\.module:factory"):
        chaos.in_process(in_folder, "slow", engine)


def test_an_option_that_is_no_plain_value_is_refused(in_folder):
    with pytest.raises(TypeError):
        chaos.in_process(in_folder, "slow", sleep=print)


def test_a_seeded_run_strikes_the_same_jobs_in_a_process_of_its_own(in_folder):
    engine = chaos.in_process(in_folder, "crash", chance=0.5, seed=7)
    module = engine.partition(":")[0]
    code = f"import {module}\n(fault,) = {module}.make()\nprint([fault._turns._is_struck(n) for n in range(1, 30)])"
    done = subprocess.run([sys.executable, "-c", code], cwd=in_folder, capture_output=True, text=True, check=True)
    (here,) = engines_of(engine)
    assert done.stdout.strip() == str([here._turns._is_struck(number) for number in range(1, 30)])


def test_the_kit_costs_no_heavy_import():
    code = "import studio_worker.testing.chaos, sys\nprint({'aiohttp', 'PIL', 'numpy', 'pytest'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
