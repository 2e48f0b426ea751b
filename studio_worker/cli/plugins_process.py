"""The process of an installer: no shell, no working folder of the user's, its lines as they come, an end on Ctrl-C."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from signal import SIGINT
from typing import Any

from studio_worker.engines.interpreter import OWN
from studio_worker.engines.process_group import end_group
from studio_worker.errors import StudioWorkerError
from studio_worker.private_file import reason
from studio_worker.text import escape

KEPT_LINES = 40
SHOWN_LINES = 3

_PLAIN = {"PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8", "NO_COLOR": "1"}
GRACE_SECS = 10.0
"""How long an installer may take to undo what it has begun."""


class InstallFailed(StudioWorkerError):
    """An installer could not do what it was asked for."""


def run_installer(
    command: Sequence[str], what: str, on_line: Callable[[str], None], *, variables: Mapping[str, str] | None = None
) -> None:
    """Run an installer to its end; blocks.

    It runs in an empty folder: a file that lies where the user stands can be taken neither for a module of the
    installer, nor for its settings, nor for a package. Ctrl-C is handed on once, and its end is waited for.

    Args:
        command: program and arguments.
        what: what it is to do, as the end of "… could not".
        on_line: takes each line that it writes, without its line end.
        variables: its environment; the worker's, without secrets, by default.

    Raises:
        InstallFailed: it cannot be started, or ends with a status of its own; the sentence has its last lines.
        KeyboardInterrupt: Ctrl-C; it has ended.
    """
    kept: deque[str] = deque(maxlen=KEPT_LINES)
    with tempfile.TemporaryDirectory(prefix="studio-worker-plugins-") as folder:
        try:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env={**(variables or OWN.environment()), **_PLAIN},
                encoding="utf-8",
                errors="replace",
                **_own_group(),
            )
        except OSError as error:
            raise InstallFailed(f"{command[0]} could not {what}: it cannot be started: {reason(error)}") from None
        with child:
            try:
                assert child.stdout is not None
                for line in child.stdout:
                    kept.append(line.rstrip())
                    on_line(line.rstrip())
                status = child.wait()
            except BaseException:
                _end(child)
                raise
    if status != 0:
        raise InstallFailed(f"could not {what} (exit status {status}): {_last_words(kept)}")


def _own_group() -> dict[str, Any]:
    """A terminal's Ctrl-C reaches this process alone, which hands it on: twice would stop the undoing."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"process_group": 0}


def _end(child: subprocess.Popen[str]) -> None:
    """Ask it to end, wait for that, and insist; a second Ctrl-C insists at once."""
    with suppress(OSError):
        if sys.platform == "win32":
            from signal import CTRL_BREAK_EVENT

            child.send_signal(CTRL_BREAK_EVENT)
        else:
            os.killpg(child.pid, SIGINT)
    try:
        child.communicate(timeout=GRACE_SECS)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        # What it has started itself (uv's pip, a build) holds our end of its output open, and would go on.
        end_group(child.pid, is_hard=True)


def _last_words(lines: Sequence[str]) -> str:
    said = [line for line in lines if line.strip()]
    # pip marks each line of an error; uv the first, and those that say what it follows from.
    errors = [line for line in said if line.strip().lower().startswith(("error", "cause:"))]
    return escape("; ".join(line.strip() for line in (errors or said)[-SHOWN_LINES:]), limit=1_000) or "it said nothing"
