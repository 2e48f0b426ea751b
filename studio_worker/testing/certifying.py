"""Writing certificates of conformance: what the kit found, tied to the content that it was found on."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from studio_worker.engines.certificates import (
    MAX_BYTES,
    Certificate,
    CertifiedEngine,
    CertifiedRule,
    file_name,
)
from studio_worker.engines.entry_points import canonical
from studio_worker.engines.installed_content import InstalledContent, NoContent, installed_content
from studio_worker.errors import PluginError
from studio_worker.private_file import make_private_folder, reason, write_atomically
from studio_worker.testing.conformance.report import Report

MAX_MESSAGE = 1_000
"""Characters of a rule's sentence that a certificate keeps."""


class CannotCertify(PluginError):
    """No certificate can be written; the sentence says why, and what to do."""


def content_to_certify(distribution: str, path: Sequence[str] = (), python: str = "") -> InstalledContent:
    """The package as it lies here, taken before it is checked. Reads every file of it: for a thread.

    Args:
        distribution: its name.
        path: where its interpreter imports from (`PluginRef.path`); empty: this one's.
        python: that interpreter (`PluginRef.python`); empty: this one.

    Raises:
        CannotCertify: its files cannot be told from others.
    """
    try:
        return installed_content(distribution, path, python)
    except NoContent as problem:
        raise CannotCertify(f"{distribution} cannot be certified: {problem}") from None


def certify(
    reports: Sequence[Report],
    before: InstalledContent,
    *,
    path: Sequence[str] = (),
    python: str = "",
    now: datetime | None = None,
) -> Certificate:
    """The certificate of a package, also of one with failures, which it then says. For a thread.

    Args:
        reports: what the kit found, one for each plugin of the package; at least one.
        before: `content_to_certify`, from before the kit ran.
        path: where its interpreter imports from, as `content_to_certify` was told.
        python: that interpreter, likewise.
        now: the time.

    Raises:
        CannotCertify: a report is about no package or another one, or the package has changed meanwhile.
    """
    for report in reports:
        if canonical(report.distribution) != canonical(before.distribution) or report.version != before.version:
            about = f"{report.distribution} {report.version}".strip() or "an engine that is not installed"
            raise CannotCertify(f"the report is about {about}, not about {before.distribution} {before.version}")
    after = content_to_certify(before.distribution, path, python)
    if after.sha256 != before.sha256:
        raise CannotCertify(f"{before.distribution} has changed while it was checked: check it again")
    return Certificate(
        distribution=before.distribution,
        version=before.version,
        kit_version=reports[0].kit_version,
        api_version=reports[0].api_version,
        content_sha256=after.sha256,
        wheel_sha256=after.wheel_sha256,
        checked_at=(now or datetime.now(UTC)).replace(microsecond=0),
        python=platform.python_version(),
        platform=platform.platform(terse=True) or "unknown",
        engines=tuple(
            CertifiedEngine(
                name=engine.name,
                rules=tuple(
                    CertifiedRule(
                        rule=rule.rule,
                        outcome=rule.outcome.value,
                        message=rule.message[:MAX_MESSAGE],
                        secs=float(rule.secs),
                    )
                    for rule in engine.rules
                ),
            )
            for report in reports
            for engine in report.engines
        ),
    )


def keep_certificate(certificate: Certificate, folder: Path, environment: str = "") -> Path:
    """Put a certificate into a worker's folder of them (`Config.certificates_path`), in place of the package's last.

    Args:
        certificate: what to keep.
        folder: the folder.
        environment: the environment that the package lies in, by name; each has a file of its own.

    Returns:
        the file.

    Raises:
        CannotCertify: the folder cannot be written.
    """
    try:
        make_private_folder(folder)
    except OSError as error:
        raise CannotCertify(f"the folder {folder} cannot be made: {reason(error)}") from None
    path = folder / file_name(certificate.distribution, certificate.version, environment)
    write_certificate(certificate, path)
    return path


def write_certificate(certificate: Certificate, path: Path) -> None:
    """Write a certificate; the file is there whole or as it was.

    Raises:
        CannotCertify: it cannot be written, or would be larger than is read.
    """
    data = json.dumps(certificate.to_json(), indent=2, ensure_ascii=False).encode() + b"\n"
    if len(data) > MAX_BYTES:
        raise CannotCertify(f"the certificate has {len(data):,} bytes, at most {MAX_BYTES:,} are read")
    try:
        write_atomically(path, data, mode=0o644)
    except OSError as error:
        raise CannotCertify(f"{path} cannot be written: {reason(error)}") from None
