"""Write a plugin of every kind, as `studio-worker plugins new` makes them, into a folder, for the type checker.

``python tools/new_plugins.py FOLDER`` replaces what the folder holds.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from studio_worker.cli.plugins_project import Project
from studio_worker.wire.kinds import TaskKind


def main(folder: Path) -> None:
    """Write them."""
    if folder.exists():
        shutil.rmtree(folder)
    for kind in TaskKind:
        name = f"new-{kind.value.replace('_', '-')}"
        Project(name, kind, folder / name).write()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
