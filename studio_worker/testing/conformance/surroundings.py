"""What all code of a process shares, and what an engine has to leave as it found it."""

from __future__ import annotations

import locale
import logging
import os
import random
import signal
import socket
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

SHARED = ("working directory", "signal handlers", "import path", "standard streams")
"""What an engine in a process of its own leaves alone; one that shares the worker's leaves all of `look` alone."""


def look() -> dict[str, str]:
    """Each thing that is shared, as a text that changes with it."""
    return {
        "working directory": str(Path.cwd()),
        "signal handlers": _handlers(),
        "import path": repr(sys.path),
        "standard streams": repr((id(sys.stdout), id(sys.stderr))),
        "environment": repr(sorted(os.environ.items())),
        "locale": locale.setlocale(locale.LC_ALL),
        "random module's state": str(hash(random.getstate())),
        "socket timeout": repr(socket.getdefaulttimeout()),
        "logging set-up": repr((logging.root.level, len(logging.root.handlers))),
        "exception hooks": repr((id(sys.excepthook), id(threading.excepthook))),
    }


def changed(before: Mapping[str, str], after: Mapping[str, str], *, is_alone: bool) -> list[str]:
    """What is not as it was, by name.

    Args:
        before: what `look` said.
        after: what it says now.
        is_alone: whether the engine has a process of its own.
    """
    return [name for name, was in before.items() if after[name] != was and (not is_alone or name in SHARED)]


def _handlers() -> str:
    return repr([(int(number), repr(signal.getsignal(number))) for number in signal.valid_signals()])
