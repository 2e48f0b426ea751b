"""Archives: what the disk says of a file is no verdict on it."""

import errno
import zipfile
from pathlib import Path

import pytest

from studio_worker.models.formats import archives
from studio_worker.models.formats.archives import LOOK, check_archive


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "model.zip"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("weights", b"w" * 100)
    return path


def test_an_error_of_the_disk_is_handed_on(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(archives, "_start_of", fail)
    with pytest.raises(OSError, match="Input/output error"):
        check_archive(archive, archive.read_bytes()[:LOOK], "model.zip", lambda *_: None)


def test_a_place_that_cannot_be_is_damage(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> bytes:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(archives, "_start_of", fail)
    with pytest.raises(archives.BadModelFile, match="archive"):
        check_archive(archive, archive.read_bytes()[:LOOK], "model.zip", lambda *_: None)
