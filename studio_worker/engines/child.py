"""The process that foreign code runs in first: ``python -P -m studio_worker.engines.child``.

Danger: a plugin may print, exit, hang, or close descriptors; so the pipe to the worker moves off descriptors 0 to 2
before any of it is imported, and what is printed goes to the worker's bounded stderr pipe.

Order: take the pipe away, read the first request, watch the pipe, set `sys.path` as the worker has it, then import.

Guarantee: the process, and what it started, ends within a second of the worker: a daemon thread blocks on the pipe
and leaves at its end.

Up: ``{"type": "described", "engines": [...], "hooks": [...]}`` or ``{"type": "failed", "reason": ...}``.
Down: ``{"type": "describe", "value", "table", "path", "pythonpath"}``.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Any, BinaryIO

from studio_worker.engines.framing import pack, read_frame


def main() -> None:
    """Serve one worker until its pipe ends."""
    requests, answers = _take_pipe()
    request = read_frame(requests)
    if request is None:
        return
    threading.Thread(target=_leave_with_the_worker, args=(requests,), daemon=True).start()
    _restore_environment(request)
    answers.write(_answer(request))
    answers.flush()
    # The worker reads the answer and then ends this process; leaving first would run the plugin's exit handlers.
    threading.Event().wait()


def _take_pipe() -> tuple[BinaryIO, BinaryIO]:
    """The pipe on descriptors of its own; 0 reads nothing and 1 goes where 2 goes."""
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return requests, answers


def _leave_with_the_worker(requests: BinaryIO) -> None:
    try:
        while read_frame(requests) is not None:
            pass
    finally:
        if hasattr(os, "killpg") and os.getpgrp() == os.getpid():
            os.killpg(os.getpid(), signal.SIGKILL)
        os._exit(0)


def _restore_environment(request: dict[str, Any]) -> None:
    """The worker's own import path, and the PYTHONPATH that it had, for what the plugin itself starts."""
    sys.path[:] = request["path"]
    if request["pythonpath"] is None:
        os.environ.pop("PYTHONPATH", None)
    else:
        os.environ["PYTHONPATH"] = request["pythonpath"]


def _answer(request: dict[str, Any]) -> bytes:
    from studio_worker.engines.self_report import said

    try:
        return pack(_describe(request["value"], request["table"]))
    except SystemExit as error:
        reason = f"it called sys.exit({error.code!r})"
    except BaseException as error:  # noqa: BLE001 - whatever a plugin raises is its reason
        reason = said(error)
    return pack({"type": "failed", "reason": reason})


def _describe(value: str, table: dict[str, Any]) -> dict[str, Any]:
    from studio_worker.engines.loading import Plugin
    from studio_worker.engines.self_report import report_of

    plugin = Plugin(value)
    return {
        "type": "described",
        "engines": [report_of(engine) for engine in plugin.engines(table)],
        "hooks": list(plugin.hooks),
    }


if __name__ == "__main__":
    main()
