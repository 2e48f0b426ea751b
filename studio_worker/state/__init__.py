"""What the worker itself remembers, apart from the operator's settings."""

from studio_worker.state.credential_store import CredentialStore
from studio_worker.state.credentials import Credentials
from studio_worker.state.lock import StateLock

__all__ = ["CredentialStore", "Credentials", "StateLock"]
