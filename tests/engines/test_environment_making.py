"""Environments that the worker makes itself: all of one, or nothing."""

import json
import os
import sys
from importlib import metadata
from pathlib import Path

import pytest
from filelock import FileLock

from studio_worker.cli.plugins_process import InstallFailed, run_installer
from studio_worker.config import Config
from studio_worker.engines import environment_making
from studio_worker.engines.environment_making import (
    EnvironmentPlan,
    make_environment,
    own_requirement,
    plan_environment,
    remove_environment,
)
from studio_worker.engines.environments import FINISHED, list_environments, look_into
from studio_worker.errors import PluginError


def plan(state: Path, *scripts: str) -> EnvironmentPlan:
    """An environment whose commands are these Python scripts, run in its folder."""
    folder = state / "environments" / "lama"
    commands = tuple((sys.executable, "-c", f"folder = {str(folder)!r}\n{script}") for script in scripts)
    return EnvironmentPlan("lama", folder, ("studio-worker-lama",), commands)


def run(command, variables):
    """As the command line does."""
    run_installer(command, "make it", print, variables=variables)


MAKES = "import os; os.makedirs(folder + '/bin')"


def test_the_plan_makes_an_environment_and_installs_the_worker_with_the_plugin(tmp_path):
    made = plan_environment(
        tmp_path / "environments", "lama", ["studio-worker-lama"], worker="studio-worker==9", options=["--pre"]
    )
    folder = tmp_path / "environments" / "lama"
    venv, pip = made.commands
    assert made.folder == folder
    assert venv == (sys.executable, "-I", "-m", "venv", "--clear", str(folder), "--without-pip")
    assert pip[:7] == (sys.executable, "-I", "-m", "pip", "--python", f"{folder}/bin/python", "install")
    assert pip[-4:] == ("--pre", "--", "studio-worker==9", "studio-worker-lama")
    assert not folder.exists()


def test_a_worker_without_pip_has_the_environments_own_install(tmp_path, monkeypatch):
    monkeypatch.setattr(environment_making, "find_spec", lambda name: None)
    venv, pip = plan_environment(tmp_path / "environments", "lama", ["studio-worker-lama"]).commands
    assert "--without-pip" not in venv
    assert pip[:4] == (f"{tmp_path}/environments/lama/bin/python", "-I", "-m", "pip")


@pytest.mark.parametrize("name", ["", "..", "a/b", "-r", "a b", "é", "x" * 65, ".hidden"])
def test_a_name_that_is_no_folders_name_is_refused(name, tmp_path):
    with pytest.raises(PluginError, match="an environment cannot be called"):
        plan_environment(tmp_path / "environments", name, [])


def test_the_worker_that_runs_here_is_what_is_installed_there(monkeypatch):
    class Installed:
        origin: str | None = None

        def read_text(self, name):
            assert name == "direct_url.json"
            return self.origin

    monkeypatch.setattr(metadata, "distribution", lambda name: Installed)
    Installed.read_text = classmethod(Installed.read_text)
    assert own_requirement() == "studio-worker==0.1.0"
    Installed.origin = json.dumps({"url": "file:///src/studio-worker", "dir_info": {"editable": True}})
    assert own_requirement() == "studio-worker @ file:///src/studio-worker"
    Installed.origin = "{broken"
    assert own_requirement() == "studio-worker==0.1.0"


def test_an_environment_counts_once_all_commands_have_ended_well(tmp_path):
    config = Config(state_dir=tmp_path)
    seen = []

    def look(command, variables):
        seen.append(dict(list_environments(config)))
        Path(tmp_path, "environments", "lama").mkdir(exist_ok=True)

    folder = make_environment(plan(tmp_path, MAKES, "pass"), look)
    assert seen == [{}, {}]
    assert list_environments(config) == {"lama": folder}
    assert json.loads((folder / FINISHED).read_text())["requirements"] == ["studio-worker-lama"]


def test_a_command_that_fails_is_named_with_its_last_words_and_leaves_nothing(tmp_path):
    with pytest.raises(InstallFailed, match=r"could not make it .exit status 3.: no such \\x1b package$"):
        make_environment(plan(tmp_path, MAKES, "import sys; print('no such \\033 package\\n'); sys.exit(3)"), run)
    assert not (tmp_path / "environments" / "lama").exists()


def test_a_command_that_cannot_be_started_is_named_and_leaves_nothing(tmp_path):
    gone = EnvironmentPlan("lama", tmp_path / "environments" / "lama", (), ((str(tmp_path / "gone"),),))
    with pytest.raises(InstallFailed, match="could not make it: it cannot be started: No such file"):
        make_environment(gone, run)
    assert not (tmp_path / "environments" / "lama").exists()


def test_ctrl_c_leaves_nothing(tmp_path):
    def interrupted(command, variables):
        Path(tmp_path, "environments", "lama").mkdir()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_environment(plan(tmp_path, MAKES), interrupted)
    assert not (tmp_path / "environments" / "lama").exists()


def test_the_commands_get_none_of_the_workers_paths_and_no_secret(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.setenv("STUDIO_WORKER_HF_TOKEN", "hunter2")
    monkeypatch.setenv("PIP_INDEX_URL", "https://index.example/simple")
    tell = f"{MAKES}; import json; open(folder + '/variables', 'w').write(json.dumps(dict(os.environ)))"
    variables = json.loads((make_environment(plan(tmp_path, tell), run) / "variables").read_text())
    assert "PYTHONPATH" not in variables
    assert "hunter2" not in str(variables)
    assert variables["PIP_INDEX_URL"] == os.environ["PIP_INDEX_URL"]


def test_a_second_one_of_the_same_name_is_refused_and_the_first_stays(tmp_path):
    folder = make_environment(plan(tmp_path, MAKES), run)
    with pytest.raises(PluginError, match="there is an environment 'lama' already"):
        make_environment(plan(tmp_path, "raise SystemExit(1)"), run)
    assert (folder / FINISHED).exists()


def test_one_that_is_being_made_is_not_made_by_another_and_is_finished(tmp_path):
    refused = []

    def meanwhile(command, variables):
        (tmp_path / "environments" / "lama").mkdir(exist_ok=True)
        with pytest.raises(PluginError, match="'lama' is being made or removed by another process: wait") as told:
            make_environment(plan(tmp_path, "raise SystemExit(1)"), run)
        refused.append(told)

    folder = make_environment(plan(tmp_path, MAKES), meanwhile)
    assert len(refused) == 1
    assert (folder / FINISHED).exists()


def test_one_that_is_being_removed_is_not_removed_twice(tmp_path):
    folder = make_environment(plan(tmp_path, MAKES), run)
    with FileLock(folder.with_name("lama.lock")), pytest.raises(PluginError, match="'lama' is being made or removed"):
        remove_environment(tmp_path / "environments", "lama")
    assert remove_environment(tmp_path / "environments", "lama")


def test_what_was_made_is_removed_and_nothing_else(tmp_path):
    folder = make_environment(plan(tmp_path, MAKES), run)
    (tmp_path / FINISHED).touch()
    assert not remove_environment(tmp_path / "environments", "other")
    assert not remove_environment(tmp_path / "environments", "..")
    assert not remove_environment(tmp_path / "environments", "lama/../..")
    assert remove_environment(tmp_path / "environments", "lama")
    assert not folder.exists()
    assert (tmp_path / FINISHED).exists()


async def test_a_real_environment_is_made_by_venv_and_pip_and_serves(tmp_path, environments):
    environments.plugin("owl", "...", requires=("colourbox==1.0",))
    environments.wheel("colourbox", "1.0", "VERSION = 1\n")
    options = ["--no-index", "--find-links", str(environments.wheels)]
    made = plan_environment(tmp_path / "environments", "night", ["plugin-owl"], worker="colourbox", options=options)
    folder = make_environment(made, run)
    environments.link_worker(folder)
    found = await look_into("night", folder, timeout_secs=60.0)
    assert [(ref.name, ref.distribution) for ref in found.plugins] == [("owl", "plugin-owl")]
    assert list(environments.site(folder).glob("colourbox-1.0.dist-info"))
