from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from studio_worker import errors
from studio_worker.cli import app as app_module
from studio_worker.cli.app import app
from studio_worker.cli.table import COMMANDS
from studio_worker.version import __version__

Call = Callable[..., Any]

HEAVY = (
    "aiohttp",
    "numpy",
    "PIL",
    "pydantic",
    "rich",
    "jinja2",
    "tomlkit",
    "loguru",
    "psutil",
    "pynvml",
    "faster_whisper",
    "piper",
)


def imported(program: Call, *args: str) -> set[str]:
    """The modules that a command line imports."""
    outcome = program(*args, python=("-X", "importtime"))
    return {line.rpartition("|")[2].strip() for line in outcome.err.splitlines() if line.startswith("import time:")}


def test_the_version_is_printed_without_click(program: Call) -> None:
    outcome = program("--version")
    assert (outcome.status, outcome.out, outcome.err) == (0, f"studio-worker {__version__}\n", "")
    assert not imported(program, "--version") & {"click", "asyncio", *HEAVY}


def test_the_help_imports_nothing_heavy_and_no_command(program: Call) -> None:
    modules = imported(program, "--help")
    assert not modules & {"asyncio", *HEAVY}
    assert not {f"studio_worker.cli.{entry.module}" for entry in COMMANDS.values()} & modules


@pytest.mark.parametrize("args", [["status"], ["pause"], ["config", "path"]])
def test_small_commands_import_no_server_and_no_engine(args: list[str], program: Call) -> None:
    assert not imported(program, *args) & {"aiohttp", "numpy", "PIL", "rich", "jinja2", "faster_whisper", "piper"}


def test_the_version_option_works_among_others(cli: Call) -> None:
    assert cli("--log-json", "--version").out == f"studio-worker {__version__}\n"


def test_the_help_names_every_command_in_the_tables_order(cli: Call) -> None:
    outcome = cli("--help")
    at = [outcome.out.index(f"\n  {name} ") for name in COMMANDS]
    assert at == sorted(at)
    assert (outcome.status, outcome.err) == (0, "")


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_says_of_itself_what_the_table_says_of_it(name: str) -> None:
    command = app.get_command(click.Context(app), name)
    assert command is not None
    assert (command.name, command.short_help) == (name, COMMANDS[name].short_help)


def every_command(prefix: tuple[str, ...], group: click.Group) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        found.append((*prefix, name))
        if isinstance(command, click.Group):
            found += every_command((*prefix, name), command)
    return found


OURS = [path for path in every_command((), app) if path[0] in COMMANDS]


@pytest.mark.parametrize("path", OURS, ids=" ".join)
def test_each_commands_help_is_complete_and_has_an_example(path: tuple[str, ...], cli: Call) -> None:
    outcome = cli(*path, "--help")
    assert (outcome.status, outcome.err) == (0, "")
    assert f"Usage: studio-worker {' '.join(path)}" in outcome.out
    assert "Example: studio-worker " in outcome.out


@pytest.mark.parametrize("path", [path for path in OURS if path[0] != "run"], ids=" ".join)
def test_each_command_that_shows_something_takes_json(path: tuple[str, ...], cli: Call) -> None:
    assert "--json" in cli(*path, "--help").out


@pytest.mark.parametrize("path", OURS, ids=" ".join)
def test_each_option_and_argument_says_what_it_is(path: tuple[str, ...]) -> None:
    command: click.Command | None = app
    for name in path:
        assert isinstance(command, click.Group)
        command = command.get_command(click.Context(command), name)
    assert command is not None
    assert [option.name for option in command.params if isinstance(option, click.Option) and not option.help] == []


@pytest.mark.parametrize("args", [["status", "--help"], ["jobs", "add", "--help"]])
def test_help_in_a_process_of_its_own(args: list[str], program: Call) -> None:
    outcome = program(*args)
    assert (outcome.status, outcome.err) == (0, "")


@pytest.mark.parametrize("args", [["nope"], ["--nope"], ["--log-level", "loud", "status"], ["status", "extra"], []])
def test_a_wrong_use_exits_2_with_a_usage_sentence(args: list[str], cli: Call) -> None:
    outcome = cli(*args)
    assert (outcome.status, outcome.out) == (2, "")
    assert "Usage: studio-worker" in outcome.err


def test_a_known_error_is_one_sentence_and_its_exit_code(cli: Call, home: Path) -> None:
    (home / "config.toml").write_text("max_concurrent_jobs = 0")
    outcome = cli("--config", str(home / "config.toml"), "config")
    assert (outcome.status, outcome.out) == (78, "")
    assert outcome.err.count("\n") == 1
    assert outcome.err.startswith(f"studio-worker: {home}/config.toml, line 1: max_concurrent_jobs must be")


class Broken(click.Command):
    """A command that ends with an error."""

    def __init__(self, error: BaseException) -> None:
        super().__init__("broken")
        self.error = error

    def invoke(self, ctx: click.Context) -> None:
        raise self.error


@pytest.fixture
def failing(cli: Call, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Runs a command that ends with a given error."""

    def call(error: BaseException, *options: str) -> Any:
        monkeypatch.setattr(app_module.app, "get_command", lambda _context, _name: Broken(error))
        return cli(*options, "status")

    return call


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.StudioWorkerError("a"), 1),
        (errors.ReconnectBudgetSpent("a"), 69),
        (errors.AlreadyRunning("a"), 75),
        (errors.AuthFailed("a"), 77),
        (errors.RegistrationRejected("a"), 77),
        (errors.ConfigError("a"), 78),
    ],
)
def test_each_kind_of_error_has_its_exit_code(error: Exception, status: int, failing: Call) -> None:
    outcome = failing(error)
    assert (outcome.status, outcome.err) == (status, "studio-worker: a\n")


def test_an_error_out_of_nested_task_groups_is_found(failing: Call) -> None:
    nested = ExceptionGroup("x", [ValueError("y"), ExceptionGroup("z", [errors.DuplicateWorker("gone")])])
    outcome = failing(nested)
    assert (outcome.status, outcome.err) == (77, "studio-worker: gone\n")


def test_an_error_that_quotes_outside_text_stays_one_line(failing: Call) -> None:
    outcome = failing(errors.StudioWorkerError("ok\n2026 ERROR forged \x1b[2J\u202e"))
    assert outcome.err == "studio-worker: ok\\n2026 ERROR forged \\x1b[2J\\u202e\n"


def test_an_unexpected_error_is_one_line_and_a_hint(failing: Call) -> None:
    outcome = failing(RuntimeError("oops"))
    assert outcome.status == 1
    assert outcome.err.splitlines() == [
        "studio-worker: an unexpected error: RuntimeError: oops",
        "studio-worker: `studio-worker --log-level debug …` shows where it happened",
    ]


def test_at_debug_level_the_traceback_is_shown(failing: Call) -> None:
    outcome = failing(RuntimeError("oops"), "--log-level", "debug")
    assert "Traceback" in outcome.err
    assert "hint" not in outcome.err


@pytest.fixture
def heard_interrupts() -> Iterator[None]:
    """Ctrl-C as a person's shell has it: one that starts tests in the background has it ignored, by children too."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heard_interrupts")
def test_ctrl_c_in_a_short_command_exits_130_quietly(home: Path) -> None:
    os.mkfifo(home / "jobs")
    child = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "studio_worker",
            "jobs",
            "add",
            str(home / "jobs"),
            "--studio",
            "http://127.0.0.1:9",
            "--token",
            "x",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    # Opening our end returns once the child has opened the other: it is in the middle of its command then.
    with (home / "jobs").open("wb"):
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=30)
    assert (child.returncode, out, err.strip()) == (130, "", "")


def test_a_reader_that_leaves_early_is_no_error(home: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as pipe:
        done = subprocess.run(
            [sys.executable, "-m", "studio_worker", "config", "--json"],
            stdout=pipe,
            stderr=subprocess.PIPE,
            check=False,
            timeout=60,
        )
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.parametrize("args", [["--version"], ["--help"], ["config"]])
def test_closed_streams_are_no_error(args: list[str], home: Path) -> None:
    command = f"{sys.executable} -m studio_worker {' '.join(args)} >&- 2>&-"
    assert subprocess.run(["sh", "-c", command], check=False, timeout=60).returncode == 0


def test_a_locale_without_unicode_shows_escapes(program: Call, home: Path) -> None:
    environ = {"PYTHONIOENCODING": "ascii", "STUDIO_WORKER_MACHINE_NAME": "Küche"}
    outcome = program("config", "get", "machine_name", environ=environ)
    assert (outcome.status, outcome.out) == (0, "K\\xfcche\n")


COMMAND = """
import click

@click.command()
def hello():
    click.echo("hello from a package")
"""


def test_an_external_command_is_listed_without_importing_it_and_runs(program: Call, installed: Call) -> None:
    environ = installed(
        "studio-worker-hello",
        source=COMMAND,
        entry_points="[studio_worker.commands]\nhello = studio_worker_hello:hello\n",
    )
    helped = program("--help", environ=environ, python=("-X", "importtime"))
    assert "hello  From studio-worker-hello 1.2.3." in helped.out
    assert "studio_worker_hello" not in helped.err
    assert program("hello", environ=environ).out == "hello from a package\n"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("raise RuntimeError('\\x1b[2J')", "RuntimeError: \\x1b[2J"),
        ("raise SystemExit(0)", "SystemExit: 0"),
        ("import nowhere_at_all", "ModuleNotFoundError"),
        ("", "AttributeError"),
        ("hello = 5", "is no click command"),
    ],
)
def test_a_broken_external_command_is_named_with_its_package(
    source: str, said: str, program: Call, installed: Call
) -> None:
    environ = installed(
        "studio-worker-hello",
        source=source,
        entry_points="[studio_worker.commands]\nhello = studio_worker_hello:hello\n",
    )
    outcome = program("hello", environ=environ)
    assert outcome.status == 1
    assert "'hello' of studio-worker-hello 1.2.3" in outcome.err
    assert said in outcome.err
    assert program("config", "path", environ=environ).status == 0


@pytest.mark.parametrize("args", [["--help"], ["plugins", "list"], ["hello"]])
def test_a_damaged_list_of_entry_points_costs_its_own_package_alone(
    args: list[str], program: Call, installed: Call
) -> None:
    installed("studio-worker-bad", source="", entry_points="[studio_worker.commands]\njust text")
    environ = installed(
        "studio-worker-hello",
        source=COMMAND,
        entry_points="[studio_worker.commands]\nhello = studio_worker_hello:hello\n",
    )
    outcome = program(*args, environ=environ)
    assert (outcome.status, "hello" in outcome.out) == (0, True), outcome.err


def test_an_external_command_cannot_take_our_names(program: Call, installed: Call) -> None:
    environ = installed(
        "studio-worker-hello",
        source=COMMAND,
        entry_points="[studio_worker.commands]\nconfig = studio_worker_hello:hello\n",
    )
    assert "hello from a package" not in program("config", "path", environ=environ).out


@pytest.mark.parametrize("args", [["--help"], ["--version"], ["status"], ["config"]])
def test_twenty_heavy_packages_are_not_imported(args: list[str], program: Call, installed: Call) -> None:
    environ: dict[str, str] = {}
    for at in range(20):
        environ = installed(
            f"studio-worker-heavy{at}",
            source="raise RuntimeError('imported')",
            entry_points=(
                f"[studio_worker]\nheavy{at} = studio_worker_heavy{at}\n"
                f"[studio_worker.commands]\nheavy{at} = studio_worker_heavy{at}:command\n"
            ),
        )
    outcome = program(*args, environ=environ, python=("-X", "importtime"))
    assert outcome.status == (1 if args == ["status"] else 0)
    assert "studio_worker_heavy" not in outcome.err
    assert ("heavy19" in outcome.out) is (args == ["--help"])


def test_json_is_valid_whatever_the_settings_hold(cli: Call, config_file: Path) -> None:
    config_file.write_text('[plugins.x]\na = "\\u0000 \\u202e"\n')
    assert json.loads(cli("config", "--json").out)["settings"]["plugins"]["value"] == {"x": {"a": "\0 \u202e"}}
