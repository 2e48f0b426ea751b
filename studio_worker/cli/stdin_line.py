"""One line of stdin, for what must not stand in a command line: every user of the machine can read that."""

from __future__ import annotations

import sys

import click

from studio_worker.cli import output

STDIN = "-"
MAX_LINE_BYTES = 1_048_576


def read_line(prompt: str, *, hint: str) -> str:
    """A line of stdin without its end; a terminal is asked for it, and shows nothing of it.

    Args:
        prompt: what a terminal is asked for.
        hint: the argument or option whose value it is.

    Raises:
        click.BadParameter: there is no such line, or it is empty, too long or no UTF-8.
    """
    if output.is_terminal(sys.stdin):
        line = str(click.prompt(prompt, default="", hide_input=True, show_default=False, err=True))
    else:
        raw = b"" if sys.stdin is None else sys.stdin.buffer.readline(MAX_LINE_BYTES + 1)
        if len(raw) > MAX_LINE_BYTES:
            raise click.BadParameter(f"a line of stdin may have {MAX_LINE_BYTES:,} bytes", param_hint=hint)
        try:
            line = raw.decode().rstrip("\r\n")
        except UnicodeDecodeError:
            raise click.BadParameter("the line of stdin is no UTF-8", param_hint=hint) from None
    if not line:
        raise click.BadParameter(f"{STDIN} reads a line of stdin, and there is none", param_hint=hint)
    return line
