"""Asking an interpreter whether the byte code of a package is what its sources say (`byte_code_probe`)."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from importlib import resources

from studio_worker.engines.interpreter import Interpreter
from studio_worker.private_file import reason

TIMEOUT_SECS = 60.0
"""How long that may take: about half a second for each megabyte of sources."""


class UncheckedByteCode(Exception):
    """No interpreter has said; the message is why, as the end of a sentence."""


def foreign_byte_code(sources: Sequence[str], python: str = "") -> str | None:
    """The first file of byte code that would be run in place of its source and is other code; None: there is none.

    It is asked in a process, for a thread: compiling would hold up the loop, and versions of Python differ.

    Args:
        sources: paths of modules.
        python: the interpreter that would run them; empty: this one.

    Raises:
        UncheckedByteCode: there was no answer.
    """
    script = resources.files("studio_worker.engines").joinpath("byte_code_probe.py").read_text(encoding="utf-8")
    # An environment's interpreter ignores the variables that would have it look elsewhere (`Interpreter`).
    prefix = None if python else sys.pycache_prefix
    try:
        asked = subprocess.run(
            (python or sys.executable, "-I", "-S", "-W", "ignore", "-c", script),
            env=Interpreter(python).environment(),
            input=json.dumps([prefix, list(sources)]).encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=TIMEOUT_SECS,
            start_new_session=True,
            check=True,
        )
        found = json.loads(asked.stdout)
    except OSError as error:
        raise UncheckedByteCode(f"its interpreter cannot be started: {reason(error)}") from None
    except subprocess.TimeoutExpired:
        raise UncheckedByteCode(f"its interpreter gave no answer within {TIMEOUT_SECS:g} s") from None
    except (subprocess.CalledProcessError, ValueError):
        raise UncheckedByteCode("its interpreter gave no answer that means anything") from None
    return None if found is None else str(found)
