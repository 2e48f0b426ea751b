"""pip on a reader's machine, without a package index: what the tests' environment has counts as available.

    python reader_pip.py PYTHON ARGUMENT...

The packages of this repository are put into their place as editable installs are. Everything else is built and
installed for real.
"""

from __future__ import annotations

import os
import re
import sys
import tomllib
from pathlib import Path

from reader_site import install

OFFLINE = ("--no-index", "--no-build-isolation", "--disable-pip-version-check", "--quiet")
FOLDER = re.compile(r"([./][^\[\]]*)(?:\[([\w,]+)\])?")


def is_ours(argument: str, site: Path) -> bool:
    """Whether this is the folder of a package of the repository, which is installed then."""
    match = FOLDER.fullmatch(argument)
    if match is None:
        return False
    project = Path(match[1]).resolve()
    table = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    if not (project / "studio_worker").is_dir() and not (project / "../../studio_worker").is_dir():
        return False
    for extra in (match[2] or "").split(","):
        assert not extra or extra in table["optional-dependencies"], f"{table['name']} has no extra {extra}"
    install(project, site)
    return True


def main(python: str, command: str, *arguments: str) -> None:
    """Do what pip would do."""
    if command == "install":
        site = next(Path(python).parents[1].glob("lib/python*/site-packages"))
        left = [argument for argument in arguments if not is_ours(argument, site)]
        if all(argument.startswith("-") for argument in left):
            return
        arguments = (*OFFLINE, *left)
    os.execv(python, [python, "-m", "pip", command, *arguments])


if __name__ == "__main__":
    main(*sys.argv[1:])
