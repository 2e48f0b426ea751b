"""`studio-worker config`: the settings in force, where each comes from, and changing one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from studio_worker.cli import output
from studio_worker.cli.invocation import Invocation, pass_invocation
from studio_worker.cli.stdin_line import STDIN, read_line

if TYPE_CHECKING:
    from studio_worker.config import Config, ConfigSource


@click.group(
    invoke_without_command=True,
    short_help="Show and change the settings.",
    epilog="Example: studio-worker config set max_concurrent_jobs 2",
)
@click.option("--json", "as_json", is_flag=True, help="Print the settings as JSON.")
@click.pass_context
def config(context: click.Context, as_json: bool) -> None:
    """Show and change the settings.

    Without a command: every setting in force and where it comes from (file, environment, default). Secrets are shown
    as ***.
    """
    if context.invoked_subcommand is not None:
        return
    source = context.ensure_object(Invocation).settings()
    shown = {key: {"value": masked(key, source.get(key)), "origin": source.origins[key]} for key in source.keys}
    if as_json:
        output.json_text({"path": str(source.path), "settings": shown})
        return
    output.note(f"{source.path}" + ("" if source.path.exists() else " (not there: the defaults hold)"))
    output.rows([{"setting": key} | entry for key, entry in shown.items()], as_json=False)


@config.command("get", short_help="Show one setting.", epilog="Example: studio-worker config get models_root")
@click.argument("key")
@click.option("--json", "as_json", is_flag=True, help="Print the value as JSON.")
@pass_invocation
def get(invocation: Invocation, key: str, as_json: bool) -> None:
    """Show one setting in force; plugins.NAME.KEY reaches into a plugin's table."""
    from studio_worker.config import BadSetting

    try:
        value = masked(key, invocation.settings().get(key))
    except BadSetting as error:
        raise click.BadParameter(str(error), param_hint="KEY") from None
    if as_json:
        output.json_text(value)
    elif isinstance(value, str):
        output.say(value)
    elif value is not None:
        output.json_text(value, indent=None)


@config.command(
    "set",
    short_help="Change one setting in the file.",
    epilog="Example: studio-worker config set disabled_engines onnx,llama",
    context_settings={"ignore_unknown_options": True},
)
@click.argument("key")
@click.argument("value")
@click.option("--json", "as_json", is_flag=True, help="Print the new value as JSON.")
@pass_invocation
def set_(invocation: Invocation, key: str, value: str, as_json: bool) -> None:
    """Change one setting in the file; its comments stay.

    Lists are comma-separated or JSON, tables are JSON, and an empty VALUE removes the setting from the file. With -
    as VALUE, it is read from a line of stdin, unseen where that is a terminal: so give secrets. A running worker takes
    the change by its next heartbeat.
    """
    from studio_worker.masks import MASK

    source = invocation.settings()
    is_read = value == STDIN
    if is_read:
        value = read_line(key, hint="VALUE")
    change(source, key, value, hint="VALUE")
    output.note(f"{source.path}: {key} is {'set' if value else 'removed'}")
    shown = masked(key, source.get(key) if value else None)
    if MASK in str(shown) and not is_read:
        output.note(
            "other users of this machine can see a command line while it runs, and shells keep it: "
            f"`studio-worker config set {key} -` takes the value unseen"
        )
    if as_json:
        output.json_text(shown)


@config.command("path", short_help="Show where the config file is.", epilog="Example: studio-worker config path")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
@pass_invocation
def path(invocation: Invocation, as_json: bool) -> None:
    """Show where the config file is; it need not exist."""
    found = invocation.config_file
    if as_json:
        output.json_text({"path": str(found), "exists": found.exists()})
    else:
        output.say(str(found))


def change(source: ConfigSource, key: str, text: str, *, hint: str) -> Config:
    """Set one setting in the file.

    Args:
        source: the settings.
        key: the setting.
        text: its value as text.
        hint: the argument's name, for the usage error that a bad value is.
    """
    from studio_worker.config import BadSetting

    try:
        settings = source.set(key, text)
    except BadSetting as error:
        raise click.BadParameter(str(error), param_hint=hint) from None
    head = key.partition(".")[0]
    if source.origins[head] == "environment":
        output.note(f"STUDIO_WORKER_{head.upper()} is set and wins over the config file")
    return settings


def masked(key: str, value: Any) -> Any:
    """A setting's value as JSON values, with everything that looks secret hidden."""
    from studio_worker.config import secrecy

    return secrecy.masked(tuple(key.split(".")), value)
