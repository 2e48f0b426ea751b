"""Seeing to it that a worker which uses certified engines only goes on doing so while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from studio_worker.engines.certificate_watch import CertificateWatch
from studio_worker.engines.certification import needs_certificate, refuse_uncertified, with_certificates
from studio_worker.engines.description import EngineDescription
from studio_worker.errors import EngineError

if TYPE_CHECKING:
    from studio_worker.config import Config


class CertificateGuard:
    """Compares packages with their certificates again: where one comes or goes, and where a package's code is started.

    Where `require_certified_engines` is off it does nothing.

    Args:
        config: the settings of the moment.
        on_change: told that the engines in force are to be looked at again; called on the loop or in a thread.
    """

    def __init__(self, config: Callable[[], Config], on_change: Callable[[], None]) -> None:
        self._config = config
        self._on_change = on_change
        self._watch = CertificateWatch(config().certificates_path)

    def look(self) -> None:
        """Notice certificates that have come, gone or changed since the last call."""
        if self._config().require_certified_engines and self._watch.has_changed():
            self._on_change()

    def check(self, engine: EngineDescription) -> None:
        """Return where the code of this engine may be started as it lies here now. Hashes its package: for a thread.

        Raises:
            EngineError: it needs a certificate and has none any more that is valid.
        """
        config = self._config()
        if not (config.require_certified_engines and needs_certificate(engine)):
            return
        bare = replace(engine, status="available", certificate=None)
        (found,) = refuse_uncertified(with_certificates([bare], config.certificates_path))
        if found.status != "available":
            self._on_change()
            raise EngineError(f"engine '{engine.name}' is not started: {found.reason}; remedy: {found.remedy}")
