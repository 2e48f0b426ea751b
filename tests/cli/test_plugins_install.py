from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import socket
import sys
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from .environments import Environment, make_wheel
from .foxes import AWAY

Call = Callable[..., Any]


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return Environment.make(tmp_path)


@pytest.fixture
def without_pip(tmp_path: Path) -> Environment:
    made = Environment.make(tmp_path, having=())
    made.variables["PATH"] = "/usr/bin:/bin"
    return made


@pytest.fixture
def with_uv(without_pip: Environment) -> Environment:
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert uv is not None, "uv is one of the packages that tests need"
    without_pip.variables["PATH"] = f"{Path(uv).parent}{os.pathsep}/usr/bin:/bin"
    return without_pip


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    return make_wheel(tmp_path / "wheels", requires=["studio-worker"])


def fox_of(environment: Environment) -> list[str]:
    return sorted(path.name for path in environment.site.glob("studio_worker_fox*"))


@contextmanager
def keyboard(answer: str) -> Iterator[int]:
    """The far end of a terminal at which somebody types `answer`."""
    near, far = pty.openpty()
    try:
        os.write(near, f"{answer}\n".encode())
        yield far
    finally:
        os.close(near)
        os.close(far)


def answered(environment: Environment, answer: str, *args: str) -> tuple[int, str, str]:
    with keyboard(answer) as keys, environment.start("plugins", *args, stdin=keys) as process:
        out, err = process.communicate(timeout=100)
    return process.returncode, out, err


def test_a_wheel_is_installed_once_somebody_agrees_and_its_engine_is_shown(
    environment: Environment, wheel: Path
) -> None:
    status, out, err = answered(environment, "y", "install", str(wheel), "--json")
    assert status == 0, err
    assert json.loads(out) == {
        "environment": str(environment.folder),
        "dryRun": False,
        "changes": [{"name": "studio-worker-fox", "from": None, "to": "1.0"}],
        "engines": [
            {
                "engine": "fox",
                "status": "available",
                "distribution": "studio-worker-fox",
                "version": "1.0",
                "reason": "",
                "remedy": "",
            }
        ],
    }
    assert "Successfully installed studio-worker-fox-1.0" in err
    assert "a running worker does not see it until it is restarted" in err
    assert "already satisfied" not in err


def test_nothing_is_changed_where_somebody_does_not_agree(environment: Environment, wheel: Path) -> None:
    status, out, err = answered(environment, "n", "install", str(wheel))
    assert (status, out) == (1, "")
    assert "+ studio-worker-fox 1.0" in err
    assert f"Change {environment.folder} so? [y/N]" in err
    assert fox_of(environment) == []


def test_what_is_installed_already_is_left_alone(environment: Environment, wheel: Path) -> None:
    environment.put(wheel)
    done = environment.run("plugins", "install", "studio-worker-fox", "--yes", "--json")
    assert (done.returncode, json.loads(done.stdout)["changes"]) == (0, [])
    assert "nothing to change" in done.stderr


def test_a_newer_one_takes_the_place_of_an_older_one_where_that_is_asked_for(
    environment: Environment, wheel: Path
) -> None:
    environment.put(wheel)
    environment.variables["PIP_FIND_LINKS"] = str(make_wheel(wheel.parent, version="1.1").parent)
    newer = environment.run("plugins", "install", "studio-worker-fox", "--upgrade", "--yes", "--json")
    assert json.loads(newer.stdout)["changes"] == [{"name": "studio-worker-fox", "from": "1.0", "to": "1.1"}]
    assert fox_of(environment) == ["studio_worker_fox-1.1.dist-info", "studio_worker_fox.py"]


def test_a_dry_run_says_what_would_come_and_changes_nothing(environment: Environment, wheel: Path) -> None:
    done = environment.run("plugins", "install", str(wheel), "--dry-run")
    assert (done.returncode, done.stdout.splitlines()[1].split()) == (0, ["studio-worker-fox", "1.0"])
    assert fox_of(environment) == []


def test_where_nobody_can_answer_nothing_is_begun_without_yes(cli: Call, wheel: Path) -> None:
    outcome = cli("plugins", "install", str(wheel))
    assert outcome.status == 2
    assert "--yes" in outcome.err


@pytest.mark.parametrize(
    "words",
    [
        ("x; touch pwned",),
        ("$(touch pwned)",),
        ("--index-url", "http://127.0.0.1:9/simple", "x"),
        ("--", "--index-url=http://127.0.0.1:9/simple"),
        ("../x.whl",),
        ("https://127.0.0.1:9/x.whl",),
    ],
)
def test_words_that_are_no_package_reach_no_installer(
    words: tuple[str, ...], cli: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("an installer was started")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("subprocess.Popen", never)
    outcome = cli("plugins", "install", "--yes", *words)
    assert outcome.status == 2, outcome.err
    assert list(tmp_path.glob("pwned*")) == []


@pytest.mark.parametrize("word", ["studio-worker", "Studio_Worker==9"])
def test_the_program_itself_is_no_plugin(word: str, cli: Call) -> None:
    assert "this program itself" in cli("plugins", "install", "--yes", word).err
    assert cli("plugins", "uninstall", "--yes", "studio-worker").status == 2


def test_files_beside_the_user_are_neither_run_nor_installed(
    environment: Environment, wheel: Path, tmp_path: Path
) -> None:
    for name in ("pip.py", "uv.py"):
        (tmp_path / name).write_text("open('pwned', 'w')\nraise SystemExit(3)\n")
    (tmp_path / "fox").mkdir()
    (tmp_path / "fox" / "pyproject.toml").write_text("[project]\nname='fox'\nversion='1'\n")
    done = environment.run("plugins", "install", "fox", "--yes", cwd=tmp_path)
    assert (done.returncode, (tmp_path / "pwned").exists()) == (1, False)
    assert "No matching distribution found for fox" in done.stderr


def test_a_package_that_is_not_to_be_had_fails_with_the_installers_words(environment: Environment) -> None:
    done = environment.run("plugins", "install", "studio-worker-nope", "--yes")
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("studio-worker: pip could not plan to install studio-worker-nope (exit status 1): ERROR:")


def test_what_is_no_plugin_is_said_to_be_none(environment: Environment, tmp_path: Path) -> None:
    plain = make_wheel(tmp_path, name="just-a-library", entry_points="")
    done = environment.run("plugins", "install", str(plain), "--yes")
    assert done.returncode == 0
    assert "nothing of this is a plugin" in done.stderr


def test_an_engine_that_cannot_run_is_shown_with_its_remedy(environment: Environment, tmp_path: Path) -> None:
    (environment.folder / "pipx_metadata.json").write_text("{}")
    done = environment.run("plugins", "install", str(make_wheel(tmp_path, source=AWAY)), "--yes")
    assert "engine 'fox' (studio-worker-fox 1.0) is unavailable: no fox here; buy one" in done.stderr
    assert "pipx inject studio-worker NAME" in done.stderr


def test_a_plugin_is_uninstalled_by_its_own_name(environment: Environment, wheel: Path) -> None:
    environment.put(wheel)
    would = environment.run("plugins", "uninstall", "fox", "--dry-run", "--json")
    assert json.loads(would.stdout)["changes"] == [{"name": "studio-worker-fox", "from": "1.0", "to": None}]
    assert fox_of(environment) != []
    done = environment.run("plugins", "uninstall", "fox", "--yes")
    assert (done.returncode, fox_of(environment)) == (0, [])
    assert "a running worker keeps it until it is restarted" in done.stderr


def test_a_package_that_is_no_plugin_is_not_uninstalled(cli: Call) -> None:
    outcome = cli("plugins", "uninstall", "--yes", "aiohttp")
    assert outcome.status == 2
    assert "'aiohttp' brings no plugin" in outcome.err


def test_a_plugin_of_another_environment_is_left_where_it_is(environment: Environment) -> None:
    outside = environment.folder.parent / "elsewhere"
    info = outside / "studio_worker_fox-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: studio-worker-fox\nVersion: 1.0\n")
    (info / "RECORD").write_text("")
    (info / "entry_points.txt").write_text("[studio_worker]\nfox = studio_worker_fox\n")
    (environment.site / "elsewhere.pth").write_text(str(outside))
    done = environment.run("plugins", "uninstall", "fox", "--yes")
    assert done.returncode == 1
    assert "left studio-worker-fox where it is: it lies outside" in done.stderr
    assert info.exists()


def test_uv_serves_an_environment_without_pip(with_uv: Environment, tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path / "wheels")
    would = with_uv.run("plugins", "install", str(wheel), "--dry-run", "--json")
    assert json.loads(would.stdout)["changes"] == [{"name": "studio-worker-fox", "from": None, "to": "1.0"}]
    assert fox_of(with_uv) == []
    done = with_uv.run("plugins", "install", str(wheel), "--yes", "--json")
    assert [engine["engine"] for engine in json.loads(done.stdout)["engines"]] == ["fox"]
    gone = with_uv.run("plugins", "uninstall", "studio-worker-fox", "--yes")
    assert (gone.returncode, fox_of(with_uv)) == (0, [])


def test_uv_says_why_it_cannot(with_uv: Environment) -> None:
    done = with_uv.run("plugins", "install", "studio-worker-nope", "--yes")
    assert done.returncode == 1
    assert "uv could not plan to install studio-worker-nope" in done.stderr
    assert "studio-worker-nope" in done.stderr.partition("exit status")[2]


def test_an_environment_without_pip_and_uv_gets_two_remedies(without_pip: Environment, wheel: Path) -> None:
    done = without_pip.run("plugins", "install", str(wheel), "--yes")
    assert done.returncode == 1
    assert "-m ensurepip" in done.stderr
    assert "install uv" in done.stderr


@pytest.fixture
def system_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This Python as one that the system's package manager claims."""
    (tmp_path / "EXTERNALLY-MANAGED").write_text("[externally-managed]\n")
    monkeypatch.setattr(sys, "base_prefix", sys.prefix)
    monkeypatch.setattr(sysconfig, "get_path", lambda name, *_, **__: str(tmp_path))


@pytest.mark.parametrize("command", [("install", "studio-worker-nope"), ("uninstall", "studio-worker-fox")])
@pytest.mark.usefixtures("system_python")
def test_a_systems_python_is_left_alone_with_a_remedy(
    command: tuple[str, ...], cli: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "studio_worker.cli.plugins_installed.packages_of_plugins", lambda: {"studio-worker-fox": ("fox",)}
    )
    outcome = cli("plugins", *command, "--yes")
    assert outcome.status == 1
    assert "python3 -m venv" in outcome.err
    assert "pipx" in outcome.err


@pytest.fixture
def silent_index() -> Iterator[socket.socket]:
    """An index that takes calls and answers none."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30)
        yield server


def test_ctrl_c_ends_the_installer_too(environment: Environment, silent_index: socket.socket) -> None:
    environment.variables["PIP_INDEX_URL"] = f"http://127.0.0.1:{silent_index.getsockname()[1]}/simple"
    environment.variables["PIP_NO_INDEX"] = "0"
    with environment.start("plugins", "install", "studio-worker-nope", "--yes") as process:
        call, _ = silent_index.accept()
        with call:
            call.settimeout(30)
            process.send_signal(signal.SIGINT)
            _out, err = process.communicate(timeout=30)
            while call.recv(65_536):
                continue
    assert process.returncode == 130
    assert "Traceback" not in err
