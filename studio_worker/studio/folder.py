"""The studio's data folder: one studio at a time, its token and its key."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from studio_worker.errors import AlreadyRunning, ConfigError
from studio_worker.private_file import make_private_folder, read_private, write_atomically
from studio_worker.studio.blobs import Blobs
from studio_worker.studio.signing import load_key
from studio_worker.wire import strict_json

MIN_TOKEN = 16
"""Characters of an admin token that is given."""


@dataclass(frozen=True, slots=True)
class DataFolder:
    """An opened data folder, held by a lock until `close`."""

    path: Path
    lock: FileLock
    admin_token: str
    signing_key: bytes
    blobs: Blobs

    @classmethod
    def open(cls, path: Path, admin_token: str | None) -> DataFolder:
        """Make the folder where it is missing and hold it. Blocking.

        Args:
            path: the folder.
            admin_token: the token to use; None: the one of an earlier start, else a new one.

        Raises:
            AlreadyRunning: another studio holds it.
            ConfigError: it cannot be written, its secrets are open to others, or the token is too short.
        """
        if admin_token is not None and (len(admin_token) < MIN_TOKEN or not admin_token.isascii()):
            raise ConfigError(f"the admin token must be at least {MIN_TOKEN} ASCII characters")
        try:
            make_private_folder(path)
            lock = FileLock(path / "studio.lock", timeout=0, thread_local=False)
            lock.acquire()
        except Timeout:
            raise AlreadyRunning(
                f"another studio uses the data folder {path}; stop it or choose another --data"
            ) from None
        except OSError as error:
            raise _unwritable(path, error) from None
        try:
            token = admin_token or _kept_token(path) or secrets.token_urlsafe(32)
            return cls(path, lock, token, load_key(path / "signing.key"), Blobs(path / "blobs"))
        except OSError as error:
            lock.release()
            raise _unwritable(path, error) from None
        except ConfigError:
            lock.release()
            raise

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.path / "studio.db"

    def announce(self, url: str) -> None:
        """Write ``admin.json`` (0600): where the studio is and its admin token. Blocking."""
        said = strict_json.dumps({"url": url, "token": self.admin_token})
        write_atomically(self.path / "admin.json", f"{said}\n".encode())

    def close(self) -> None:
        """Let another studio have the folder."""
        self.lock.release()


def _kept_token(path: Path) -> str | None:
    try:
        kept = strict_json.loads(read_private(path / "admin.json", limit_bytes=65_536))
    except (FileNotFoundError, strict_json.NotJson):
        return None
    token = kept.get("token") if isinstance(kept, dict) else None
    return token if isinstance(token, str) and len(token) >= MIN_TOKEN else None


def _unwritable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"the data folder {path} cannot be written ({error.strerror or error}); choose another with --data"
    )
