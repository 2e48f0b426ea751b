"""The Python that an engine's process runs on: the worker's own, or that of an environment of the engine's own.

Danger: the two must not mix. A folder of the worker's on the path of another environment brings the versions that the
environment was made to keep apart, and compiled modules for another Python. So nothing of the worker's path is handed
over there, its variables that lead Python elsewhere are taken away, and ``-I`` leaves the environment alone to say what
is imported.
"""

from __future__ import annotations

import os
import site
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from studio_worker.config.loading import FOREIGN_VARIABLES, PREFIX

MISLEADING = (
    "PYTHONPATH",
    "PYTHONHOME",
    "PYTHONPLATLIBDIR",
    "PYTHONEXECUTABLE",
    "__PYVENV_LAUNCHER__",
    "VIRTUAL_ENV",
    "VIRTUAL_ENV_PROMPT",
    "CONDA_PREFIX",
    "CONDA_DEFAULT_ENV",
)
"""Variables by which one environment leads the Python of another to its own packages."""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """What a child is started with.

    Attributes:
        python: the interpreter's path; empty: the worker's own.
    """

    python: str = ""

    @property
    def command(self) -> tuple[str, ...]:
        """The beginning of the child's command line: the interpreter and what it may look at."""
        return (self.python, "-I") if self.python else (sys.executable, "-P")

    @property
    def import_path(self) -> list[str] | None:
        """The worker's `sys.path`, with the working folder by its name; None where the environment has its own."""
        if self.python:
            return None
        return [str(Path(entry).absolute()) for entry in sys.path if isinstance(entry, str)]

    @property
    def pythonpath(self) -> str | None:
        """The PYTHONPATH that the child has once it is started."""
        return None if self.python else os.environ.get("PYTHONPATH")

    def environment(self) -> dict[str, str]:
        """The worker's environment without the worker's own settings, by whichever variable: they may hold a token."""
        own = FOREIGN_VARIABLES.values()
        found = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX) and name not in own}
        return _entered(found, Path(self.python)) if self.python else _with_this_package(found)


OWN = Interpreter()
"""The worker's own."""


def _with_this_package(variables: dict[str, str]) -> dict[str, str]:
    """Where this package is not installed among the site packages (a checkout), the child finds it by PYTHONPATH.

    It takes that back before it imports anything foreign.
    """
    home = str(Path(__file__).absolute().parents[2])
    installed = {*site.getsitepackages(), site.getusersitepackages(), sysconfig.get_path("purelib")}
    if home not in installed:
        before = variables.get("PYTHONPATH")
        variables["PYTHONPATH"] = os.pathsep.join([home, before] if before else [home])
    return variables


def _entered(variables: dict[str, str], python: Path) -> dict[str, str]:
    """As after the activation of the environment: its programs come first, and none of the worker's environment."""
    for name in MISLEADING:
        variables.pop(name, None)
    is_virtual = sys.prefix != sys.base_prefix
    left = {str(Path(sys.executable).parent)} if is_virtual else set()
    before = [entry for entry in variables.get("PATH", "").split(os.pathsep) if entry and entry not in left]
    variables["PATH"] = os.pathsep.join([str(python.parent), *before])
    if (python.parent.parent / "pyvenv.cfg").is_file():
        variables["VIRTUAL_ENV"] = str(python.parent.parent)
    return variables
