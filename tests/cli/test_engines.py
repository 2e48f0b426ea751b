from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .foxes import AWAY, FOX, POINT

Call = Callable[..., Any]

KEYS = {"name", "distribution", "version", "sources", "kinds", "isolation", "status", "reason", "certificate"}


@pytest.fixture
def fox(installed: Call) -> dict[str, str]:
    found = installed("studio-worker-fox", source=AWAY, entry_points=POINT)
    assert isinstance(found, dict)
    return found


@pytest.fixture
def broken(installed: Call) -> dict[str, str]:
    found = installed("studio-worker-fox", source="raise RuntimeError('\\x1b[2J')", entry_points=POINT)
    assert isinstance(found, dict)
    return found


def named(out: str, name: str) -> dict[str, Any]:
    found = {engine["name"]: engine for engine in json.loads(out)}[name]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("args", [("engines", "--json"), ("engines", "list", "--json")])
def test_the_list_has_the_keys_of_the_design(args: tuple[str, ...], program: Call, fox: dict[str, str]) -> None:
    outcome = program(*args, environ=fox)
    assert outcome.status == 0
    engine = named(outcome.out, "fox")
    assert set(engine) == KEYS
    assert (engine["distribution"], engine["version"], engine["sources"], engine["kinds"]) == (
        "studio-worker-fox",
        "1.2.3",
        ["fox-source"],
        ["image"],
    )
    assert (engine["status"], engine["certificate"]) == ("unavailable", None)


def test_the_table_says_why_an_engine_cannot_run(program: Call, fox: dict[str, str]) -> None:
    outcome = program("engines", environ=fox)
    assert outcome.out.splitlines()[0].split() == [
        "NAME",
        "KINDS",
        "SOURCES",
        "STATUS",
        "DISTRIBUTION",
        "VERSION",
        "CERTIFICATE",
        "REASON",
        "REMEDY",
    ]
    assert "no fox here" in outcome.out


def test_a_broken_plugin_is_named_and_the_command_works(program: Call, broken: dict[str, str]) -> None:
    outcome = program("engines", "--json", environ=broken)
    assert outcome.status == 0
    engine = named(outcome.out, "fox")
    assert engine["status"] == "broken"
    assert "RuntimeError" in engine["reason"]
    assert "\x1b" not in outcome.out + outcome.err


@pytest.mark.parametrize("args", [("engines", "--strict"), ("engines", "list", "--strict")])
def test_strict_fails_naming_package_version_and_reason(
    args: tuple[str, ...], program: Call, broken: dict[str, str]
) -> None:
    outcome = program(*args, environ=broken)
    assert outcome.status == 1
    assert "studio-worker-fox 1.2.3" in outcome.err


def test_a_disabled_engine_is_shown_as_such(program: Call, fox: dict[str, str]) -> None:
    outcome = program("engines", "--json", environ=fox | {"STUDIO_WORKER_DISABLED_ENGINES": "fox"})
    assert named(outcome.out, "fox")["status"] == "disabled"


def test_info_shows_one_engine_with_models_and_remedy(program: Call, fox: dict[str, str]) -> None:
    found = json.loads(program("engines", "info", "fox", "--json", environ=fox).out)
    assert (found["models"], found["remedy"]) == ({"image": ["fox:*"]}, "buy one")


def test_info_has_no_line_for_what_is_empty_and_its_json_has_all(program: Call, fox: dict[str, str]) -> None:
    lines = program("engines", "info", "fox", environ=fox).out.splitlines()
    assert "name: fox" in lines
    assert not [line for line in lines if line.rstrip().endswith(":")]
    assert json.loads(program("engines", "info", "fox", "--json", environ=fox).out)["environment"] is None


def test_info_of_an_unknown_engine_names_the_known(program: Call, fox: dict[str, str]) -> None:
    outcome = program("engines", "info", "nope", environ=fox)
    assert outcome.status == 2
    assert "fox" in outcome.err


@pytest.fixture
def certified(fox: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """The fox with a certificate that says that its jobs were run."""
    info = tmp_path / "site" / "studio_worker_fox-1.2.3.dist-info"
    (info / "RECORD").write_text("studio_worker_fox.py,,\n")
    source = (info.parent / "studio_worker_fox.py").read_bytes()
    line = f"{hashlib.sha256(source).hexdigest()}  studio_worker_fox.py\n"
    rule = {"rule": "every-kind-runs", "outcome": "passed", "message": "it ran", "secs": 1.0}
    certificate = {
        "schema": 1,
        "distribution": "studio-worker-fox",
        "version": "1.2.3",
        "kit_version": "7",
        "api_version": 1,
        "content_sha256": hashlib.sha256(line.encode()).hexdigest(),
        "checked_at": "2026-01-05T08:00:00Z",
        "python": "3.12.1",
        "platform": "Linux",
        "engines": [{"name": "fox", "rules": [rule]}],
    }
    folder = tmp_path / "state" / "certificates"
    folder.mkdir(parents=True)
    (folder / "studio-worker-fox-1.2.3.json").write_text(json.dumps(certificate))
    return fox | {"STUDIO_WORKER_STATE_DIR": str(tmp_path / "state")}


def test_the_list_shows_a_certificate_with_what_it_is_worth(program: Call, certified: dict[str, str]) -> None:
    said = named(program("engines", "--json", environ=certified).out, "fox")["certificate"]
    assert (said["status"], said["reason"], said["kit_version"]) == ("valid", "", "7")
    assert said["file"].endswith("studio-worker-fox-1.2.3.json")


def test_the_table_has_a_word_for_it(program: Call, certified: dict[str, str]) -> None:
    (line,) = [line for line in program("engines", environ=certified).out.splitlines() if line.startswith("fox ")]
    assert line.split()[6] == "valid"


def test_info_tells_of_the_certificate(program: Call, certified: dict[str, str]) -> None:
    out = program("engines", "info", "fox", environ=certified).out
    assert '"python":"3.12.1"' in out.replace(" ", "")


def test_an_edited_package_shows_as_stale(program: Call, certified: dict[str, str], tmp_path: Path) -> None:
    with (tmp_path / "site" / "studio_worker_fox.py").open("a") as source:
        source.write("# another\n")
    said = named(program("engines", "--json", environ=certified).out, "fox")["certificate"]
    assert (said["status"], said["reason"]) == ("stale", "the files of the package are not those that were checked")


def test_an_uncertified_engine_is_shown_with_the_remedy_where_certificates_are_required(
    program: Call, installed: Call
) -> None:
    environ = installed("studio-worker-fox", source=FOX, entry_points=POINT)
    required = environ | {"STUDIO_WORKER_REQUIRE_CERTIFIED_ENGINES": "true"}
    assert named(program("engines", "--json", environ=environ).out, "fox")["status"] == "available"
    found = json.loads(program("engines", "info", "fox", "--json", environ=required).out)
    assert (found["status"], found["certificate"]) == ("unavailable", None)
    assert found["remedy"] == "studio-worker plugins check studio-worker-fox --certificate"
    assert named(program("engines", "--json", environ=required).out, "synthetic")["status"] == "available"


def test_an_engine_whose_needs_are_not_met_here_is_shown_with_the_remedy(program: Call, installed: Call) -> None:
    needs = "    needs = Needs(ram_bytes=2**60, platforms=())\n    def run("
    source = FOX.replace("    def run(", needs).replace("import Engine,", "import Needs, Engine,")
    environ = installed("studio-worker-fox", source=source, entry_points=POINT)
    found = json.loads(program("engines", "info", "fox", "--json", environ=environ).out)
    assert found["needs"] == {"gpu": None, "vram_bytes": 0, "ram_bytes": 2**60, "platforms": []}
    assert found["status"] == "unavailable"
    assert found["reason"].startswith("it needs 1073741824.0 GiB of memory, this machine has ")
    assert found["remedy"] == "run it on a machine with more memory"


def test_the_environment_of_an_engine_is_shown(program: Call, environments: Any) -> None:
    home = environments.serving("owl")
    environ = {"STUDIO_WORKER_ENGINE_ENVIRONMENTS": json.dumps({"night": str(home)})}
    found = json.loads(program("engines", "info", "owl", "--json", environ=environ).out)
    assert (found["environment"], found["interpreter"]) == ("night", f"{home}/bin/python")
    listed = program("engines", environ=environ).out
    assert "ENVIRONMENT" in listed.splitlines()[0]
    assert set(named(program("engines", "--json", environ=environ).out, "owl")) == KEYS


def test_a_broken_environment_is_named_and_strict_fails(program: Call) -> None:
    environ = {"STUDIO_WORKER_ENGINE_ENVIRONMENTS": '{"night": "/nowhere/at/all"}'}
    assert named(program("engines", "--json", environ=environ).out, "night")["reason"] == "there is no /nowhere/at/all"
    outcome = program("engines", "--strict", environ=environ)
    assert outcome.status == 1
    assert "the environment 'night' cannot be used: there is no /nowhere/at/all" in outcome.err
