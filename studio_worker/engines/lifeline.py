"""A pipe on which nothing is ever written: its end means that the worker is gone, and with it this process.

A thread that waits for the control pipe's end does the same everywhere, but it needs Python's lock, which native code
may hold for ever. So on Linux the kernel is told to kill the child's whole process group at the pipe's end: that needs
no thread of ours, and reaches processes that are stopped. PR_SET_PDEATHSIG would not do: it follows the thread that
started the child, not its process.
"""

from __future__ import annotations

import os
import signal
import sys

_F_SETSIG = 10
"""fcntl's number for the signal that comes instead of SIGIO (Linux, fcntl(2)); Python has no name for it."""


class Lifeline:
    """The worker's side. `fd` is the end that the child inherits; None where the system has nothing for it."""

    def __init__(self) -> None:
        self.fd: int | None = None
        self._held: int | None = None
        if sys.platform == "linux":
            self.fd, self._held = os.pipe()

    def started(self) -> None:
        """The child has its end; ours of it goes."""
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None

    def close(self) -> None:
        """Let go: where the child still lives, the kernel kills its group now."""
        self.started()
        if self._held is not None:
            os.close(self._held)
            self._held = None


def hold(fd: int) -> None:
    """In the child: be killed, with the whole group, when the worker's end closes."""
    if sys.platform != "linux":
        return
    import fcntl

    os.set_inheritable(fd, False)
    fcntl.fcntl(fd, fcntl.F_SETOWN, -os.getpgrp())
    fcntl.fcntl(fd, _F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_ASYNC)
