"""Every command that a page shows exists, with the options that it is shown with."""

from __future__ import annotations

import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import click
import pytest

from studio_worker.cli.app import app

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples" / "plugins"
BROUGHT = {
    name
    for project in EXAMPLES.glob("*/pyproject.toml")
    for name in tomllib.loads(project.read_text())["project"]["entry-points"].get("studio_worker.commands", {})
}
"""Commands of the example packages, which tests/examples install and call."""


def shown_commands(page) -> list[str]:
    """The command lines that begin with `studio-worker`: in shell blocks, indented, and between backticks."""
    shell = "\n".join(
        [*page.blocks("sh"), *page.blocks("console"), *re.findall(r"^ {4}(\S.*)$", page.text, re.MULTILINE)]
    )
    found = re.findall(r"^(?:\$ )?(?:[A-Z_]+=\S+ )*(?:\.venv/bin/)?(studio-worker .+)$", shell, re.MULTILINE)
    found += re.findall(r"`(?:[A-Z_]+=\S+ )*(studio-worker [^`]+)`", page.text)
    return [line.split(" #")[0].strip() for line in found]


def check(line: str) -> None:
    command: click.Command = app
    context = click.Context(app, info_name="studio-worker")
    for word in shlex.split(line)[1:]:
        if word.startswith("-") and word != "-":
            name = word.split("=")[0]
            known = {opt for parameter in command.get_params(context) for opt in parameter.opts}
            assert name in known, f"{line!r}: {context.command_path} has no {name}"
        elif isinstance(command, click.Group) and (inner := command.get_command(context, word)) is not None:
            context = click.Context(inner, info_name=word, parent=context)
            command = inner
        elif isinstance(command, click.Group) and context.parent is None and not word.isupper():
            if word in BROUGHT:
                return
            takes_value = any(opt in line.split(word)[0] for opt in ("--config", "--log-level"))
            assert takes_value, f"{line!r}: there is no command {word}"


def test_every_command_of_a_page_exists_with_its_options(page):
    for line in shown_commands(page):
        check(line)


@pytest.mark.parametrize("line", ["studio-worker rnu", "studio-worker run --fast", "studio-worker jobs --watch"])
def test_a_command_that_does_not_exist_would_be_found(line):
    with pytest.raises(AssertionError):
        check(line)


def test_every_make_target_of_a_page_exists(page, root):
    makefile = (root / "Makefile").read_text()
    shown = re.findall(r"^(?:\$ )?make ([a-z-]+)", "\n".join(page.blocks("sh")), re.MULTILINE)
    for target in [*shown, *re.findall(r"`make ([a-z-]+)", page.text)]:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"there is no target {target}"


def test_make_alone_lists_every_target_for_people(root):
    shown = subprocess.run(["make"], cwd=root, capture_output=True, text=True, check=True, timeout=30).stdout
    for target in ("demo", "test", "check", "docs", "bench", "clean"):
        assert re.search(rf"^  {target} +\S", shown, re.MULTILINE)
