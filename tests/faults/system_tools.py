"""What tests need of the system, named by ``@pytest.mark.needs(...)``, and why this machine does not give it.

A test whose needs are not met is skipped with the reason; where nothing may be left out (STUDIO_WORKER_REQUIRE_REAL),
it fails.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

PACKAGES = {"strace": "strace", "ip": "iproute2", "unshare": "util-linux", "mount": "mount"}
"""The Debian package of each program. `make system-tools` installs them where it may."""


@cache
def lack(need: str) -> str:
    """What is missing, as a sentence that says what to do; empty where nothing is.

    Args:
        need: a program of `PACKAGES`; ``namespaces``: to make some as an ordinary user; ``attaching``: to trace a
            process that runs already.
    """
    if need in RIGHTS:
        programs, refusal = RIGHTS[need]
        return next(filter(None, map(lack, programs)), "") or refusal()
    if shutil.which(need) is None:
        return f"needs {need}, which is not here (Debian: apt install {PACKAGES[need]})"
    return ""


def _no_namespaces() -> str:
    done = subprocess.run(["unshare", "-rmn", "true"], capture_output=True, text=True)
    if done.returncode == 0:
        return ""
    return (
        f"needs user, mount and network namespaces, and unshare may make none here ({done.stderr.strip()}); "
        "Ubuntu: sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
    )


def _no_attaching() -> str:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as traced:
        command = ["strace", "-qq", "-o", "/dev/null", "-p", str(traced.pid)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
            status = Path(f"/proc/{traced.pid}/status")
            while strace.poll() is None and "TracerPid:\t0\n" in status.read_text():
                time.sleep(0.01)
            if strace.poll() is None:
                traced.communicate()
            _, said = strace.communicate()
        traced.communicate()
    if strace.returncode == 0:
        return ""
    return (
        f"needs strace to attach to a process, which it may not here ({said.strip()}); "
        "sudo sysctl -w kernel.yama.ptrace_scope=0"
    )


RIGHTS: dict[str, tuple[tuple[str, ...], Callable[[], str]]] = {
    "namespaces": (("unshare", "mount"), _no_namespaces),
    "attaching": (("strace",), _no_attaching),
}
"""What the system may refuse though the programs are there."""
