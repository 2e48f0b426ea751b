"""Files that Python would import as part of a package, and that the package's list of files does not name.

Danger: ``fox/engine/__init__.py`` is imported in place of ``fox/engine.py``, as is an ``engine.so``. So a hash over the
listed files says what is run only where nothing else can be taken for one of them.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Set
from pathlib import Path, PurePosixPath

IMPORTABLE = (".py", ".pyw", ".pyc", ".so", ".pyd")
"""How the names of modules end, for every Python: an environment may have another version than the worker."""

COMPILED = (".so", ".pyd")
"""Endings that libraries have, too: a folder of these alone, such as ``lib``, may be one that packages share."""

_ROOT = PurePosixPath()


def unlisted_file(root: Path, listed: Collection[str]) -> str | None:
    """A file that would be imported from the package's folders, or in place of one of its modules; None: there is none.

    A package's folders are those in which it lists a module of Python's, with all that they hold. In a folder that
    packages share, such as ``site-packages`` or a namespace's, only what bears the name of something of its own counts.

    Args:
        root: the folder that the paths of the list begin at.
        listed: the paths that the list names, with ``/``.
    """
    modules = [path for path in map(PurePosixPath, listed) if _is_importable(path) and _is_inside(path)]
    homes = {path.parent for path in modules if path.suffix not in COMPILED} - {_ROOT}
    homes = {home for home in homes if homes.isdisjoint(home.parents)}
    found = (*(_found_in(root, home) for home in sorted(homes)), *_namesakes(root, modules, homes))
    return next((path for paths in found for path in paths if path not in listed), None)


def _is_importable(path: PurePosixPath) -> bool:
    """Whether it is a module; byte code in its cache belongs to a source."""
    is_cached = path.suffix == ".pyc" and path.parent.name == "__pycache__"
    return path.suffix in IMPORTABLE and not is_cached


def _is_inside(path: PurePosixPath) -> bool:
    return not path.is_absolute() and ".." not in path.parts


def _found_in(root: Path, home: PurePosixPath) -> Iterator[str]:
    """The modules of a folder and of all below it; a link to a folder, which no wheel brings, as if it were one."""
    for folder, folders, files in os.walk(root / home):
        here = PurePosixPath(Path(folder).relative_to(root).as_posix())
        links = [name for name in folders if Path(folder, name).is_symlink()]
        yield from (str(here / name) for name in sorted(links))
        yield from (str(here / name) for name in sorted(files) if _is_importable(here / name))


def _namesakes(root: Path, modules: Iterable[PurePosixPath], homes: Set[PurePosixPath]) -> Iterator[Iterator[str]]:
    """What bears the name of a module, or of a folder above one, where not the whole folder is the package's."""
    names: dict[PurePosixPath, set[str]] = {}
    for module in modules:
        for path in (module, *module.parents):
            if path != _ROOT and homes.isdisjoint((path.parent, *path.parent.parents)):
                names.setdefault(path.parent, set()).add(path.name.partition(".")[0])
    for folder, wanted in sorted(names.items()):
        yield _called(root, folder, wanted)


def _called(root: Path, folder: PurePosixPath, wanted: Collection[str]) -> Iterator[str]:
    """The modules of a folder that bear one of these names, and what makes a package of a folder that does."""
    for name in _names_in(root / folder):
        if name.partition(".")[0] not in wanted:
            continue
        if _is_importable(folder / name):
            yield str(folder / name)
        elif name in wanted:
            inside = (folder / name / each for each in _names_in(root / folder / name))
            yield from (str(path) for path in inside if path.name.startswith("__init__.") and _is_importable(path))


def _names_in(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir())
    except OSError:
        return []
