"""The command `studio-worker`, also as ``python -m studio_worker``."""

from __future__ import annotations

import os
import sys

from studio_worker.version import __version__

INTERRUPTED = 130
"""Exit status after Ctrl-C in a short command (128 + SIGINT)."""

BROKEN_PIPE = 1
"""Exit status when the reader of our output has left; click's own for the same case."""


def main() -> int:
    """Run the command line of this process; returns its exit status."""
    # Pydantic's own look for plugins dies of any package's damaged entry_points.txt, here and in engines' processes.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    try:
        status = _run(sys.argv[1:])
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        _let_go(1)
        return BROKEN_PIPE
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:
        _settle_stderr()
    return status


def _settle_stderr() -> None:
    """A log that nobody reads any more is no failure; the interpreter would make exit status 120 of it."""
    try:
        if sys.stderr is not None:
            sys.stderr.flush()
    except (OSError, ValueError):
        _let_go(2)


def _let_go(descriptor: int) -> None:
    """What is still buffered would be written, and complained about, when the interpreter ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)


def _run(args: list[str]) -> int:
    if args == ["--version"]:
        print(f"studio-worker {__version__}")
        return 0
    from studio_worker.cli.app import run

    return run(args)


if __name__ == "__main__":
    sys.exit(main())
