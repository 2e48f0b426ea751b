"""The process that foreign code runs in first: ``python -P -m studio_worker.engines.child``.

Danger: a plugin may print, exit, hang, or close descriptors; so the pipe to the worker moves off descriptors 0 to 2
before any of it is imported, and what is printed goes to the worker's bounded stderr pipe.

Order: take the pipe away, read the first request, watch the pipe, set `sys.path` as the worker has it, then import.

Guarantee: the process, and what it started, ends within a second of the worker: a daemon thread blocks on the pipe
and leaves at its end.

It describes a plugin or what a factory makes, or serves the jobs of one engine: the first message says which
(`messages.Describe`, `Open`).
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Any, BinaryIO

from studio_worker.engines.framing import MAX_ORDER_BYTES, pack, read_frame
from studio_worker.engines.lifeline import hold
from studio_worker.engines.messages import Describe, Described, Open, Refused, read_down, to_json
from studio_worker.version import CHILD_PROTOCOL, __version__


def main() -> None:
    """Serve one worker until its pipe ends."""
    requests, answers = _take_pipe()
    if len(sys.argv) > 1:
        hold(int(sys.argv.pop()))
    frame = read_frame(requests, limit=MAX_ORDER_BYTES)
    if frame is None:
        return
    if frame.get("protocol") != CHILD_PROTOCOL:
        _refuse_the_worker(frame, requests, answers)
        return
    request = read_down(frame)
    if isinstance(request, Describe):
        threading.Thread(target=_leave_with_the_worker, args=(requests,), daemon=True).start()
        _restore_environment(request)
        answers.write(pack(to_json(_answer(request))))
        answers.flush()
    elif isinstance(request, Open):
        _restore_environment(request)
        from studio_worker.engines.serving import Serving

        Serving(request, answers).start(requests, leave)
    # The worker ends this process; leaving first would run the exit handlers of what was imported.
    threading.Event().wait()


def _take_pipe() -> tuple[BinaryIO, BinaryIO]:
    """The pipe on descriptors of its own; 0 reads nothing and 1 goes where 2 goes."""
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    if sys.stdout is not None:
        # A line that waits in a buffer is lost when the process is killed.
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # it is the TextIOWrapper of fd 1
    return requests, answers


def _leave_with_the_worker(requests: BinaryIO) -> None:
    try:
        while read_frame(requests) is not None:
            pass
    finally:
        leave()


def leave() -> None:
    """End this process, and what it started, now."""
    if hasattr(os, "killpg") and os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(0)


def _refuse_the_worker(frame: dict[str, Any], requests: BinaryIO, answers: BinaryIO) -> None:
    """This package is another release than the worker's, and nothing but this sentence would be understood."""
    reason = (
        f"studio-worker {__version__} of its environment speaks version {CHILD_PROTOCOL} of the engines' protocol, "
        f"the worker version {frame.get('protocol')!r}: install the worker's release there"
    )
    answers.write(pack(to_json(Refused(reason))))
    answers.flush()
    _leave_with_the_worker(requests)


def _restore_environment(request: Describe | Open) -> None:
    """The worker's own import path, and the PYTHONPATH that it had, for what the plugin itself starts.

    An environment of the engine's own keeps its path.
    """
    if request.path is not None:
        sys.path[:] = request.path
    if request.pythonpath is None:
        os.environ.pop("PYTHONPATH", None)
    else:
        os.environ["PYTHONPATH"] = request.pythonpath


def _answer(request: Describe) -> Described | Refused:
    from studio_worker.engines.self_report import place_of, said

    try:
        return _describe(request)
    except SystemExit as error:
        return Refused(f"it called sys.exit({error.code!r})")
    except BaseException as error:  # noqa: BLE001 - whatever a plugin raises is its reason
        place = place_of(error, request.module or request.value.partition(":")[0])
        # The worker shows 500 characters, and the place is to be among them.
        return Refused(f"{said(error)[:350]} ({place})" if place else said(error))


def _describe(request: Describe) -> Described:
    from studio_worker.engines.loading import Plugin, engines_of
    from studio_worker.engines.self_report import report_of

    if request.is_factory:
        return Described([report_of(engine) for engine in engines_of(request.value)], [])
    plugin = Plugin(request.value)
    return Described([report_of(engine) for engine in plugin.engines(request.table)], list(plugin.hooks))


if __name__ == "__main__":
    main()
