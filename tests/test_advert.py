"""What a worker says of itself."""

from __future__ import annotations

import pytest

from studio_worker.advert import capabilities
from studio_worker.config import Config
from studio_worker.engines.description import EngineDescription
from studio_worker.engines.router import Routes
from studio_worker.machine import Machine
from studio_worker.version import __version__
from studio_worker.wire.kinds import TaskKind

MACHINE = Machine("bench-7", "ada", (8.0, 24.0))
INSTALL_ID = "0f0e0d0c-0b0a-4908-8706-050403020100"
ROUTES = Routes.build(
    (
        EngineDescription(name="painter", models={TaskKind.IMAGE: ("painter:*",)}, sources=("paint", "sd-cpp")),
        EngineDescription(
            name="writer", models={TaskKind.LLM: ("w-1", "w-2"), TaskKind.IMAGE: ("w-1",)}, sources=("w",)
        ),
        EngineDescription(name="ill", models={TaskKind.VIDEO: ("v",)}, sources=("v",), status="unavailable"),
    )
)


def told(
    *, routes: Routes = ROUTES, machine: Machine = MACHINE, is_paused: bool = False, install_id=INSTALL_ID, **given
):
    found = capabilities(Config(**given), routes, machine, is_paused=is_paused, install_id=install_id)
    return found.to_wire()


def test_it_is_the_union_of_the_engines_that_can_run():
    caps = told()
    assert caps["engine"] == "multi"
    assert caps["taskKinds"] == ["image", "llm"]
    assert caps["supportedModels"] == ["painter:*", "w-1", "w-2"]
    assert caps["supportedModelsPerKind"] == {"image": ["painter:*", "w-1"], "llm": ["w-1", "w-2"]}
    assert caps["sources"] == {"image": ["paint", "sd-cpp", "w"], "llm": ["w"]}


def test_a_worker_without_engines_advertises_nothing():
    caps = told(routes=Routes.build(()))
    assert (caps["taskKinds"], caps["supportedModels"], caps["sources"]) == ([], [], {})


def test_machine_user_and_version_are_told():
    caps = told()
    assert (caps["machineName"], caps["username"], caps["agentVersion"]) == ("bench-7", "ada", __version__)


@pytest.mark.parametrize(("gpus", "total"), [((8.0, 24.0), 24.0), ((), 0.0)])
def test_the_largest_gpu_is_the_video_memory(gpus, total):
    assert told(machine=Machine("m", "u", gpus))["vramTotalGb"] == total


def test_the_settings_of_the_operator_are_told():
    caps = told(vram_threshold_gb=3.5, auto_start=True, max_concurrent_jobs=4)
    assert (caps["vramThresholdGb"], caps["autoStart"], caps["maxConcurrentJobs"]) == (3.5, True, 4)


@pytest.mark.parametrize("is_paused", [True, False])
def test_a_paused_worker_is_not_enabled(is_paused):
    assert told(is_paused=is_paused)["autoEnabled"] is not is_paused


def test_a_hidden_machine_is_called_by_the_head_of_its_install_id():
    caps = told(share_identity=False)
    assert (caps["machineName"], caps["username"]) == ("0f0e0d0c", "")


def test_a_hidden_machine_without_an_install_id_has_a_whole_word_for_a_name():
    assert told(share_identity=False, install_id=None)["machineName"] == "unknown-host"


@pytest.mark.parametrize("share_identity", [True, False])
def test_a_name_that_the_operator_gives_is_shown_whatever_else_is_hidden(share_identity):
    caps = told(share_identity=share_identity, machine_name="attic")
    assert caps["machineName"] == "attic"
    assert caps["username"] == ("ada" if share_identity else "")
