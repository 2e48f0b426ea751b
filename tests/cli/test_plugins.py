from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .foxes import AWAY, POINT

Call = Callable[..., Any]

ENGINE = AWAY + "\n@hookimpl\ndef studio_worker_job_finished(job, outcome):\n    pass\n"
COMMAND = "[studio_worker.commands]\nhunt = studio_worker_fox:hunt\n"


def install(installed: Call, source: str = ENGINE, entry_points: str = POINT) -> dict[str, str]:
    found = installed("studio-worker-fox", source=source, entry_points=entry_points)
    assert isinstance(found, dict)
    return found


def of(out: str, distribution: str) -> dict[str, Any]:
    (found,) = [plugin for plugin in json.loads(out) if plugin["distribution"] == distribution]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("args", [("plugins", "--json"), ("plugins", "list", "--json")])
def test_a_plugin_is_listed_with_all_that_it_brings(args: tuple[str, ...], program: Call, installed: Call) -> None:
    outcome = program(*args, environ=install(installed, entry_points=POINT + COMMAND))
    assert outcome.status == 0
    assert of(outcome.out, "studio-worker-fox") == {
        "name": "fox",
        "distribution": "studio-worker-fox",
        "version": "1.2.3",
        "entryPoint": "studio_worker_fox",
        "engines": [{"name": "fox", "kinds": ["image"], "status": "unavailable", "reason": "no fox here"}],
        "hooks": ["studio_worker_job_finished"],
        "commands": ["hunt"],
        "from": "unknown",
        "reason": "no fox here",
    }


def test_the_table_names_engines_with_their_status(program: Call, installed: Call) -> None:
    outcome = program("plugins", environ=install(installed))
    heading = outcome.out.splitlines()[0].split()
    assert heading == ["NAME", "DISTRIBUTION", "VERSION", "ENGINES", "HOOKS", "COMMANDS", "FROM", "REASON"]
    assert "fox (unavailable)" in outcome.out


def test_the_builtin_plugin_is_listed_too(program: Call) -> None:
    found = of(program("plugins", "--json").out, "studio-worker")
    assert [engine["name"] for engine in found["engines"]] == ["synthetic"]


def test_a_broken_plugin_is_listed_with_its_reason(program: Call, installed: Call) -> None:
    environ = install(installed, source="raise RuntimeError('\\x1b[2J no')")
    outcome = program("plugins", "--json", environ=environ)
    assert outcome.status == 0
    (engine,) = of(outcome.out, "studio-worker-fox")["engines"]
    assert engine["status"] == "broken"
    assert "RuntimeError" in engine["reason"]
    assert "\x1b" not in outcome.out + outcome.err


def test_a_plugin_of_hooks_alone_brings_no_engine(program: Call, installed: Call) -> None:
    hooks = "from studio_worker import hookimpl\n@hookimpl\ndef studio_worker_job_started(job):\n    pass\n"
    found = of(program("plugins", "--json", environ=install(installed, source=hooks)).out, "studio-worker-fox")
    assert (found["engines"], found["hooks"]) == ([], ["studio_worker_job_started"])


def test_a_package_that_brings_commands_alone_is_listed(program: Call, installed: Call) -> None:
    environ = install(installed, source="raise SystemExit(3)", entry_points=COMMAND)
    found = of(program("plugins", "--json", environ=environ).out, "studio-worker-fox")
    assert (found["name"], found["version"], found["commands"]) == ("", "1.2.3", ["hunt"])


def test_a_command_that_cannot_be_called_is_told_with_whose_name_it_has(program: Call, installed: Call) -> None:
    installed("studio-worker-den", source="", entry_points="[studio_worker.commands]\nhunt = studio_worker_den:hunt\n")
    environ = install(
        installed, entry_points=POINT + COMMAND + "run = studio_worker_fox:run\nprowl = studio_worker_fox:p\n"
    )
    out = program("plugins", "--json", environ=environ).out
    assert of(out, "studio-worker-den")["commands"] == ["hunt"]
    found = of(out, "studio-worker-fox")
    assert found["commands"] == ["prowl"]
    assert found["reason"] == (
        "no fox here; "
        "its command 'hunt' cannot be called: studio-worker-den has one of that name; tell its author; "
        "its command 'run' cannot be called: studio-worker itself has one of that name; tell its author"
    )
    den = program("hunt", environ=environ)
    assert "the command 'hunt' of studio-worker-den" in den.err


def test_a_plugin_is_never_imported_in_the_process_that_lists(program: Call, installed: Call, tmp_path: Path) -> None:
    note = f"import os\nopen({str(tmp_path / 'imported')!r}, 'a').write(str(os.getpid()) + '\\n')\n"
    environ = install(installed, source=note + ENGINE)
    code = (
        "import os, sys\nfrom studio_worker.cli.app import run\nrun(['plugins', '--json'])\n"
        "assert 'studio_worker_fox' not in sys.modules\nprint(os.getpid(), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "imported").read_text().split() != []
    assert done.stderr.split()[-1] not in (tmp_path / "imported").read_text().split()


def info_of(tmp_path: Path) -> Path:
    return tmp_path / "site" / "studio_worker_fox-1.2.3.dist-info"


@pytest.mark.parametrize(
    ("noted", "said"),
    [
        ({"url": "file:///src/fox", "dir_info": {"editable": True}}, "/src/fox (editable)"),
        ({"url": "file:///src/a%20fox", "dir_info": {}}, "/src/a fox"),
        ({"url": "https://me:secret@files.example/fox.whl", "archive_info": {}}, "https://files.example/fox.whl"),
    ],
)
def test_a_package_says_where_it_was_installed_from(
    noted: dict[str, Any], said: str, program: Call, installed: Call, tmp_path: Path
) -> None:
    environ = install(installed)
    (info_of(tmp_path) / "direct_url.json").write_text(json.dumps(noted))
    assert of(program("plugins", "--json", environ=environ).out, "studio-worker-fox")["from"] == said


def test_a_package_from_an_index_names_who_installed_it(program: Call, installed: Call, tmp_path: Path) -> None:
    environ = install(installed)
    (info_of(tmp_path) / "INSTALLER").write_text("uv\n")
    assert of(program("plugins", "--json", environ=environ).out, "studio-worker-fox")["from"] == "an index, by uv"


@pytest.mark.parametrize("noted", ["{", "[]", '{"url": 3}', '{"url": "http://[::1"}', '{"url": "\\ud800"}'])
def test_a_damaged_note_of_the_origin_is_no_error(noted: str, program: Call, installed: Call, tmp_path: Path) -> None:
    environ = install(installed)
    (info_of(tmp_path) / "direct_url.json").write_text(noted)
    outcome = program("plugins", "--json", environ=environ)
    assert (outcome.status, of(outcome.out, "studio-worker-fox")["from"]) == (0, "unknown")
