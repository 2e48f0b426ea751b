"""Write the reference pages that follow the code: the command line, the settings and the wire.

``python tools/reference.py`` writes them; with ``--check`` it only says whether they are up to date.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from pydantic.fields import FieldInfo
from wire_reference import wire_page

from studio_worker.cli.app import app
from studio_worker.cli.table import COMMANDS
from studio_worker.config import Config
from studio_worker.config.fields import allowed

NOT_USED_YET = {
    "auto_update_enabled",
    "auto_update_interval_secs",
    "auto_update_feed",
    "auto_update_prerelease",
    "stream_port",
}
"""Settings that an older worker's file may hold, or that a later release will read."""

PAGES = Path(__file__).parent.parent / "docs" / "reference"

CLI_HEAD = """\
# Command line

`studio-worker`, or `python -m studio_worker`. `--config PATH`, `--log-level LEVEL` and `--log-json` stand before the
command, and every command has `--help`. What a command shows goes to stdout, everything else to stderr.

| Exit status | Meaning |
| --- | --- |
| 0 | a clean stop, or done |
| 1 | a failure; the sentence on stderr says which |
| 2 | a usage error |
| 69 | the studio was out of reach `ws_reconnect_attempts` times in a row |
| 75 | another worker holds the state folder |
| 77 | the studio refuses this worker: rejected, signed out, duplicate, deleted |
| 78 | settings or credentials that cannot be used |

A service manager should not restart the worker on 77 and 78: somebody has to act first.
"""

CONFIG_HEAD = """\
# Settings

Defaults, then the config file over them, then the environment over both. `studio-worker config` shows every setting
in force and where it comes from, `studio-worker config path` the file, and `studio-worker config set KEY VALUE` changes
one setting and keeps your comments. A running worker takes a changed file by its next heartbeat; an edit that breaks
it changes nothing and is reported once. Another `api_base_url`, `state_dir`, `engine_environments` or plugin's table
waits for a restart, and the log says so.

The file is TOML. `STUDIO_WORKER_CONFIG`, or `--config` before the command, names another. A setting's variable is
`STUDIO_WORKER_` and its name in capitals; a list is comma-separated or JSON, a table is JSON. A value that is not
allowed ends the command with status 78 and a sentence that names the key and what is allowed; an unknown key is a
warning with the nearest known one.

| Key | Default | Meaning and what is allowed |
| --- | --- | --- |
"""

CONFIG_TAIL = """
Credentials are no settings: the worker keeps them in `credentials.json` in its state folder, readable by you alone.
`studio-worker register` shows where.
"""


def cli_page() -> str:
    """The page of all commands."""
    root = click.Context(app, info_name="studio-worker")
    return "\n".join([CLI_HEAD, *(part for name in COMMANDS for part in _command(app, name, root, level=2))])


def _command(group: click.Group, name: str, parent: click.Context, *, level: int) -> Iterator[str]:
    command = group.get_command(parent, name)
    assert command is not None
    context = click.Context(command, info_name=name, parent=parent)
    path = context.command_path.removeprefix("studio-worker ")
    yield f"{'#' * level} {path}\n"
    yield f"    {context.command_path} {' '.join(command.collect_usage_pieces(context))}\n"
    yield inspect.cleandoc(command.help or "").replace("\b\n", "") + "\n"
    rows = [_option(parameter, context) for parameter in command.params if isinstance(parameter, click.Option)]
    if rows:
        yield "\n".join(["| Option | Meaning |", "| --- | --- |", *rows]) + "\n"
    if command.epilog:
        yield f"Example: `{' '.join(command.epilog.split()).removeprefix('Example: ')}`\n"
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            yield from _command(command, inner, context, level=level + 1)


def _option(option: click.Option, context: click.Context) -> str:
    names = ", ".join([*option.opts, *option.secondary_opts])
    value = "" if option.is_flag else f" {option.make_metavar(context)}"
    words = " ".join((option.help or "").split())
    if option.show_default and option.default not in (None, False):
        words += f" Default: `{option.default}`."
    if option.envvar:
        words += f" Variable: `{option.envvar}`."
    return f"| `{_cell(names + value)}` | {_cell(words.strip())} |"


def config_page() -> str:
    """The page of all settings."""
    rows = [_setting(key, field) for key, field in Config.model_fields.items() if not field.exclude]
    return CONFIG_HEAD + "\n".join(rows) + "\n" + CONFIG_TAIL


def _setting(key: str, field: FieldInfo) -> str:
    words = allowed(field)
    rule = "" if words == "another value" else f" {words[0].upper()}{words[1:]}."
    meaning = (field.description or "") + rule + (" Not used yet." if key in NOT_USED_YET else "")
    return f"| `{key}` | {_default(field.get_default(call_default_factory=True))} | {_cell(meaning)} |"


def _default(value: Any) -> str:
    if value is None or value in ((), {}):
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main(arguments: list[str]) -> int:
    """Write the pages, or with ``--check`` compare them; returns 1 where one is out of date."""
    stale = []
    for name, text in (("cli.md", cli_page()), ("config.md", config_page()), ("wire.md", wire_page())):
        page = PAGES / name
        if not page.is_file() or page.read_text(encoding="utf-8") != text:
            stale.append(name)
            if "--check" not in arguments:
                page.write_text(text, encoding="utf-8")
    if stale and "--check" in arguments:
        sys.stderr.write(f"out of date: {', '.join(stale)} in docs/reference; `make reference` writes them anew\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
