"""Environments of their own: what their interpreters say, and why one cannot be used."""

import os
import sys
from pathlib import Path

import pytest

import studio_worker
from studio_worker.config import Config
from studio_worker.engines.environments import (
    FINISHED,
    UnusableEnvironment,
    interpreter_of,
    list_environments,
    look_into,
)
from studio_worker.version import CHILD_PROTOCOL, __version__

from .processes import is_running

PATIENT = 60.0


@pytest.fixture
def script(tmp_path):
    """An interpreter that is a shell script."""

    def write(text: str, *, mode: int = 0o755) -> Path:
        path = tmp_path / "python"
        path.write_text(text)
        path.chmod(mode)
        return path

    return write


async def refused(path: Path, *, timeout_secs: float = PATIENT) -> UnusableEnvironment:
    with pytest.raises(UnusableEnvironment) as caught:
        await look_into("lama", path, timeout_secs=timeout_secs)
    assert caught.value.remedy
    return caught.value


# what there is


def test_the_settings_name_environments_and_the_home_folder_is_put_in(tmp_path):
    config = Config(state_dir=tmp_path, engine_environments={"lama": "~/lama", "piper": "/opt/piper"})
    assert list_environments(config) == {"lama": config.places.home / "lama", "piper": Path("/opt/piper")}


def test_an_environment_of_the_state_folder_counts_once_it_is_finished_and_settings_come_first(tmp_path):
    for name in ("ready", "named", "unfinished"):
        (tmp_path / "environments" / name).mkdir(parents=True)
    for name in ("ready", "named"):
        (tmp_path / "environments" / name / FINISHED).touch()
    config = Config(state_dir=tmp_path, engine_environments={"named": "/opt/named"})
    assert list_environments(config) == {"ready": tmp_path / "environments" / "ready", "named": Path("/opt/named")}


def test_a_path_may_be_the_environments_folder_or_the_interpreter_itself(tmp_path):
    assert interpreter_of(tmp_path) == tmp_path / "bin" / "python"
    assert interpreter_of(Path(sys.executable)) == Path(sys.executable)


async def test_an_environment_says_its_plugins_and_its_release_and_imports_none_of_them(environments):
    environments.plugin("fox", "...", version="2.5")
    home = environments.serving("owl", "raise SystemExit")
    environments.unpack(home, "plugin-fox", "2.5")
    (environments.site(home) / "plugin_fox.py").write_text("open('imported', 'w')")
    found = await look_into("mine", home, timeout_secs=PATIENT)
    assert (found.name, found.python, found.version) == ("mine", str(home / "bin" / "python"), __version__)
    assert [(ref.name, ref.value, ref.distribution, ref.version) for ref in found.plugins] == [
        ("fox", "plugin_fox", "plugin-fox", "2.5"),
        ("owl", "plugin_owl", "plugin-owl", "1.0"),
    ]
    assert {(ref.environment, ref.python) for ref in found.plugins} == {("mine", found.python)}


@pytest.mark.parametrize("module", ["studio_worker.engines.synthetic", "studio_worker.elsewhere"])
async def test_the_built_in_engine_of_an_environment_is_not_listed_whatever_its_release_calls_it(module, environments):
    home = environments.make("plain")
    info = environments.site(home) / "studio_worker-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: studio-worker\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text(f"[studio_worker]\nsynthetic = {module}\n")
    assert (await look_into("plain", home, timeout_secs=PATIENT)).plugins == ()


async def test_a_distribution_with_damaged_entry_points_hides_no_other(environments):
    home = environments.serving("owl")
    (environments.site(home) / "plugin_fox-1.0.dist-info").mkdir()
    (environments.site(home) / "plugin_fox-1.0.dist-info" / "entry_points.txt").write_text("[studio_worker]\njust text")
    (ref,) = (await look_into("mine", home, timeout_secs=PATIENT)).plugins
    assert ref.name == "owl"


async def test_what_the_workers_variables_say_of_paths_is_not_heard(environments, monkeypatch, tmp_path):
    home = environments.make("plain", has_worker=False)
    monkeypatch.setenv("PYTHONPATH", str(Path(studio_worker.__file__).parents[1]))
    assert "not installed in it" in (await refused(home)).reason


# why one cannot be used


async def test_a_path_where_nothing_is_is_named(tmp_path):
    problem = await refused(tmp_path / "gone")
    assert problem.reason == f"there is no {tmp_path / 'gone'}"
    assert "engine_environments" in problem.remedy


async def test_a_path_that_cannot_be_looked_at_is_named_with_the_systems_reason(tmp_path):
    problem = await refused(tmp_path / ("x" * 300))
    assert problem.reason.endswith("cannot be looked at: File name too long")
    assert "engine_environments" in problem.remedy


async def test_a_folder_that_is_no_environment_is_named(tmp_path):
    assert (await refused(tmp_path)).reason == f"{tmp_path} is no virtual environment: it has no bin/python"


@pytest.mark.skipif(os.name != "posix", reason="Windows has no mode for executables")
async def test_a_file_that_cannot_be_executed_is_named(script):
    path = script("#!/bin/sh\n", mode=0o644)
    assert (await refused(path)).reason == f"{path} cannot be executed"


async def test_a_file_that_is_no_program_is_named(script):
    assert "its interpreter cannot be started: Exec format error" in (await refused(script("\0\0\0"))).reason


@pytest.mark.parametrize(
    "text",
    [
        "exit 3",
        "echo hello",
        "echo '[]'",
        "echo '{}'",
        'echo \'{"python": 3, "path": ["/lib"]}\'',
        'echo \'{"python": ["x"], "path": ["/lib"]}\'',
        'echo \'{"python": [3, 11, 2], "path": []}\'',
        "echo '[[[[[['",
    ],
)
async def test_an_interpreter_that_says_nothing_of_sense_is_named(text, script):
    problem = await refused(script(f"#!/bin/sh\n{text}\n"))
    assert "gave no answer that means anything" in problem.reason


async def test_an_interpreter_that_hangs_is_ended_with_what_it_started(script, tmp_path, until):
    path = script(f"#!/bin/sh\nsleep 600 &\necho $! > {tmp_path}/pid\nwait\n")
    assert (await refused(path, timeout_secs=3.0)).reason == "its interpreter gave no answer within 3 s"
    pid = int((tmp_path / "pid").read_text())
    await until(lambda: not is_running(pid))


async def test_an_interpreter_that_never_stops_talking_is_given_up(script):
    assert "no answer" in (await refused(script("#!/bin/sh\nexec yes\n"), timeout_secs=2.0)).reason


async def test_a_python_that_is_too_old_is_named_with_the_one_that_is_needed(script):
    path = script('#!/bin/sh\necho \'{"python": [3, 9, 2], "path": ["/lib"]}\'\n')
    assert (await refused(path)).reason == "it has Python 3.9.2, studio-worker needs 3.11"


async def test_an_environment_without_studio_worker_is_told_how_to_get_it(environments):
    home = environments.make("bare", has_worker=False)
    problem = await refused(home)
    assert problem.reason == "studio-worker is not installed in it"
    assert problem.remedy == f"pip --python {home}/bin/python install studio-worker=={__version__}"


def with_version(environments, text: str) -> Path:
    """An environment whose studio-worker is another release, as far as its versions go."""
    home = environments.make("other", has_worker=False)
    package = environments.site(home) / "studio_worker"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "version.py").write_text(text)
    return home


async def test_a_studio_worker_that_cannot_be_imported_is_named_with_its_error(environments):
    home = with_version(environments, "raise OSError('disk')")
    assert (await refused(home)).reason == "its studio-worker cannot be imported: OSError: disk"


async def test_a_release_of_another_protocol_is_named_with_both_versions(environments):
    home = with_version(environments, "__version__ = '7.1.0'\nCHILD_PROTOCOL = 99\n")
    problem = await refused(home)
    assert problem.reason == (
        "its studio-worker 7.1.0 speaks version 99 of the engines' protocol, "
        f"this worker ({__version__}) version {CHILD_PROTOCOL}"
    )
    assert problem.remedy.endswith(f"studio-worker=={__version__}")


async def test_a_release_from_before_the_protocol_had_a_number_is_refused(environments):
    home = with_version(environments, "__version__ = '0.0.9'\n")
    assert "0.0.9 speaks none of the versions" in (await refused(home)).reason
