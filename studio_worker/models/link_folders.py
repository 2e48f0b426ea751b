"""A folder that holds a model's files under the claim's names, where they lie apart: links, no copies."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from studio_worker.models.places import sanitised
from studio_worker.private_file import make_private_folder


def link_root(state: Path) -> Path:
    """Where such folders lie below the state folder."""
    return state / "model-folders"


def link_folder(root: Path, model: str, files: Mapping[str, Path]) -> Path:
    """The folder, made or brought up to date. Blocks.

    Args:
        root: where such folders lie.
        model: the model id.
        files: the claim's names, and where the files lie.

    Raises:
        OSError: it cannot be made.
    """
    text = "\n".join(f"{name}\0{path}" for name, path in sorted(files.items()))
    mark = sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]
    folder = root / f"{sanitised(model)[:100]}-{mark}"
    make_private_folder(folder)
    for name, path in files.items():
        _link(folder / name, path.absolute())
    return folder


def _link(link: Path, target: Path) -> None:
    try:
        # Windows lets nobody replace what an engine has open.
        if link.samefile(target):
            return
    except OSError:
        pass
    # Another job may open the old one at this moment, so the new one takes its place in one step.
    new = link.with_name(f".{secrets.token_hex(8)}")
    try:
        new.symlink_to(target)
    except OSError:
        # Windows lets few users make symbolic links.
        os.link(target, new)
    new.replace(link)


def drop_stale(root: Path) -> None:
    """Remove the folders of links to a file that was removed: a hard link would keep its bytes. Blocks.

    No job uses such a folder, as a file that a job uses is not removed.
    """
    with suppress(OSError):
        for folder in [Path(entry.path) for entry in os.scandir(root) if entry.is_dir(follow_symlinks=False)]:
            with suppress(OSError):
                links = list(folder.iterdir())
                if any(_leads_nowhere(link) for link in links):
                    for link in links:
                        link.unlink()
                    folder.rmdir()


def _leads_nowhere(link: Path) -> bool:
    found = link.lstat()
    if stat.S_ISLNK(found.st_mode):
        return not link.exists()
    # The last of its names: the file that this was a hard link to has gone.
    return stat.S_ISREG(found.st_mode) and found.st_nlink == 1
