from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import pytest

from studio_worker.version import __version__

from .environments import ROOT, Environment, make_wheel

INFO = f"studio_worker-{__version__}.dist-info"
METADATA = f"Metadata-Version: 2.1\nName: studio-worker\nVersion: {__version__}\n"


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    """One whose studio-worker came from an index, where there is one like it: a wheel that leads to this checkout."""
    made = Environment.make(tmp_path)
    (made.site / INFO).mkdir()
    (made.site / INFO / "METADATA").write_text(METADATA)
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    with zipfile.ZipFile(wheels / f"studio_worker-{__version__}-py3-none-any.whl", "w") as archive:
        archive.writestr("links.pth", f"{ROOT}\n{tmp_path / 'seen'}\n")
        archive.writestr(f"{INFO}/METADATA", METADATA)
        archive.writestr(
            f"{INFO}/WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{INFO}/RECORD", f"links.pth,,\n{INFO}/METADATA,,\n{INFO}/WHEEL,,\n{INFO}/RECORD,,\n")
    made.variables["PIP_FIND_LINKS"] = str(wheels)
    make_wheel(wheels, requires=["studio-worker", "colourbox==1.0"])
    make_wheel(wheels, name="colourbox", entry_points="", source="")
    return made


def folder_of(environment: Environment) -> Path:
    return environment.home / ".local/state/minis-studio-worker/environments/studio-worker-fox"


def install(environment: Environment, *options: str) -> tuple[int, str, str]:
    done = environment.run("plugins", "install", "studio-worker-fox", "--own-environment", *options)
    return done.returncode, done.stdout, done.stderr


def test_a_plugin_gets_an_environment_to_itself_and_its_engine_is_shown_and_listed(environment: Environment) -> None:
    status, out, err = install(environment, "--yes", "--json")
    assert status == 0, err
    told = json.loads(out)
    assert told["environment"] == str(folder_of(environment))
    assert told["requirements"] == [f"studio-worker=={__version__}", "studio-worker-fox"]
    assert [(engine["engine"], engine["status"]) for engine in told["engines"]] == [("fox", "available")]
    assert not list(environment.site.glob("colourbox*"))
    info = json.loads(environment.run("engines", "info", "fox", "--json").stdout)
    assert info["environment"] == "studio-worker-fox"
    listed = json.loads(environment.run("plugins", "--json").stdout)
    (fox,) = [plugin for plugin in listed if plugin["name"] == "fox"]
    assert fox["from"] == "environment studio-worker-fox"


def test_a_dry_run_says_what_would_be_run_and_makes_nothing(environment: Environment) -> None:
    status, out, err = install(environment, "--dry-run", "--json")
    assert (status, json.loads(out)["dryRun"]) == (0, True)
    assert "-m venv" in err
    assert f"install --disable-pip-version-check --no-input -- studio-worker=={__version__} studio-worker-fox" in err
    assert not folder_of(environment).exists()


def test_a_package_that_is_not_there_is_told_by_pips_own_words_and_leaves_nothing(environment: Environment) -> None:
    os.remove(next(Path(environment.variables["PIP_FIND_LINKS"]).glob("studio_worker_fox*")))
    status, _, err = install(environment, "--yes")
    assert status == 1
    assert "No matching distribution found for studio-worker-fox" in err
    assert "Traceback" not in err
    assert not folder_of(environment).exists()


def test_several_packages_in_one_environment_of_its_own_are_refused(environment: Environment) -> None:
    done = environment.run("plugins", "install", "one", "two", "--own-environment", "--yes")
    assert done.returncode == 2
    assert "an environment of its own is for one package" in done.stderr


def test_an_environment_that_was_made_is_removed_with_all_that_is_in_it(environment: Environment) -> None:
    assert install(environment, "--yes")[0] == 0
    told = environment.run("plugins", "uninstall", "studio-worker-fox", "--own-environment", "--dry-run")
    assert (told.returncode, folder_of(environment).exists()) == (0, True)
    done = environment.run("plugins", "uninstall", "Studio_Worker.Fox", "--own-environment", "--yes")
    assert done.returncode == 0, done.stderr
    assert not folder_of(environment).exists()


def test_an_environment_is_removed_by_the_name_of_the_plugin_in_it(environment: Environment) -> None:
    assert install(environment, "--yes")[0] == 0
    done = environment.run("plugins", "uninstall", "fox", "--own-environment", "--yes")
    assert (done.returncode, done.stdout.strip()) == (0, f"removed {folder_of(environment)}"), done.stderr
    assert not folder_of(environment).exists()


def test_an_environment_is_not_upgraded_but_made_anew(environment: Environment) -> None:
    status, _, err = install(environment, "--upgrade", "--yes")
    assert status == 2
    assert "--upgrade cannot be used with --own-environment: `studio-worker plugins uninstall" in err
    assert not folder_of(environment).exists()


def test_only_what_was_made_here_can_be_removed(environment: Environment) -> None:
    done = environment.run("plugins", "uninstall", "..", "--own-environment", "--yes")
    assert done.returncode == 2
    assert "those that were: none" in done.stderr
