"""The certificates of `studio-worker plugins check --certificate`: who gets one, and where it goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from studio_worker.cli import output

if TYPE_CHECKING:
    from studio_worker.engines.entry_points import PluginRef
    from studio_worker.engines.installed_content import InstalledContent
    from studio_worker.testing.conformance.report import Report

KEEP = Path()
"""``--certificate`` without a file: in the state folder, where the worker looks. Told by identity: ``.`` equals it."""


@dataclass(frozen=True, slots=True)
class _Home:
    """A package and where it lies."""

    distribution: str
    environment: str
    path: tuple[str, ...]
    python: str

    @classmethod
    def of(cls, ref: PluginRef) -> _Home:
        return cls(ref.distribution, ref.environment, ref.path, ref.python)


class Certificates:
    """One certificate a package, made of what the kit finds between the start and `write`.

    Args:
        refs: the plugins that are checked. The built-in one is part of the worker and gets no certificate; a package
            that lies in several environments gets one for each.
        target: the file for the one package, or `KEEP`.

    Raises:
        click.BadParameter: one file is not enough, or is no ``.json``.
        CannotCertify: the files of a package cannot be told from others.
    """

    def __init__(self, refs: Sequence[PluginRef], target: Path) -> None:
        from studio_worker.testing.certifying import content_to_certify

        self._homes = [_Home.of(ref) for ref in refs]
        homes = list(dict.fromkeys(_Home.of(ref) for ref in refs if not ref.is_builtin))
        if target is not KEEP and target.suffix != ".json":
            raise click.BadParameter(f"{target} does not end in .json; DIST comes first", param_hint="--certificate")
        if target is not KEEP and not homes:
            raise click.BadParameter(
                "what is checked is part of the worker, which needs no certificate: name the package of a plugin",
                param_hint="--certificate",
            )
        if target is not KEEP and len(homes) != 1:
            raise click.BadParameter(
                f"one FILE is for one package, and {len(homes)} are checked: name one", param_hint="--certificate"
            )
        self._target = target
        self._before: dict[_Home, InstalledContent] = {
            home: content_to_certify(home.distribution, home.path, home.python) for home in homes
        }

    def write(self, reports: Sequence[Report], folder: Path) -> None:
        """Write the certificates, also of failures, and say where they are.

        Args:
            reports: what the kit found, one for each plugin, in their order.
            folder: where the worker looks.

        Raises:
            CannotCertify: a package has changed meanwhile, or a file cannot be written.
        """
        from studio_worker.testing.certifying import certify, keep_certificate, write_certificate

        for home in dict.fromkeys(self._homes):
            before = self._before.get(home)
            if before is None:
                output.note(f"{home.distribution}: no certificate is written, since the worker needs none for itself")
                continue
            own = [report for whose, report in zip(self._homes, reports, strict=True) if whose == home]
            if not any(report.engines for report in own):
                output.note(f"{home.distribution}: no certificate is written, since it brings no engine")
                continue
            certificate = certify(own, before, path=home.path, python=home.python)
            path = self._target
            if path is KEEP:
                path = keep_certificate(certificate, folder, home.environment)
            else:
                write_certificate(certificate, path)
            output.note(f"{home.distribution} {before.version}: certificate written to {path}")
