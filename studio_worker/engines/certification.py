"""Which engines have a certificate that holds here, and what becomes of those that have none."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from studio_worker.engines.certificates import FoundCertificate, Standing, newest_first, read_folder
from studio_worker.engines.description import EngineDescription
from studio_worker.engines.installed_content import InstalledContent, NoContent, installed_content
from studio_worker.text import escape
from studio_worker.version import API_VERSION

SETTING = "require_certified_engines"


def with_certificates(engines: Sequence[EngineDescription], folder: Path) -> tuple[EngineDescription, ...]:
    """The same engines, each with the standing of its package's certificate. Reads and hashes files: for a thread.

    Only packages that have a certificate in `folder` are hashed. The built-in engine and those that an embedder gave
    have none, and need none.
    """
    found = read_folder(folder)
    content: dict[tuple[str, tuple[str, ...], str], InstalledContent | NoContent] = {}
    certified = []
    for engine in engines:
        own = sorted((each for each in found if each.is_about(engine.distribution)), key=newest_first)
        if own and needs_certificate(engine):
            where = (engine.distribution, engine.path, engine.python)
            if where not in content:
                content[where] = _content(*where)
            engine = replace(engine, certificate=_best(own, engine.name, content[where]))
        certified.append(engine)
    return tuple(certified)


def refuse_uncertified(engines: Iterable[EngineDescription]) -> tuple[EngineDescription, ...]:
    """The same engines, with those unavailable that need a certificate and have none that is valid."""
    return tuple(
        engine
        if engine.status != "available" or not needs_certificate(engine) or is_certified(engine)
        else replace(engine, status="unavailable", reason=_reason(engine), remedy=_remedy(engine))
        for engine in engines
    )


def needs_certificate(engine: EngineDescription) -> bool:
    """Whether it is an engine of an installed package.

    The built-in one is part of the worker, what an embedder gave is the embedder's own word, and a package without an
    engine has nothing to certify.
    """
    return bool(engine.plugin) and not engine.is_synthetic and bool(engine.models)


def standing_of(found: FoundCertificate, engine: str, content: InstalledContent | NoContent) -> Standing:
    """What one certificate of a package is worth for one of its engines.

    Args:
        found: a certificate about this package.
        engine: the engine's name.
        content: the package as it lies here, or why that cannot be said.
    """
    said = found.certificate
    if said is None:
        assert found.problem is not None, "a file that was read is one or the other"
        return Standing(found.problem.word, str(found.problem), found.path)
    if isinstance(content, NoContent):
        return Standing("stale", escape(str(content), limit=500), found.path, said, is_changed=True)
    if said.version != content.version:
        why = f"it is for version {escape(said.version, limit=64)}, here is {escape(content.version, limit=64)}"
        return Standing("stale", why, found.path, said)
    if said.content_sha256 != content.sha256:
        why = "the files of the package are not those that were checked"
        return Standing("stale", why, found.path, said, is_changed=True)
    if said.api_version != API_VERSION:
        why = f"it is for plugin API {said.api_version}, this worker serves {API_VERSION}"
        return Standing("stale", why, found.path, said)
    outcome = said.of_engine(engine)
    if outcome is None:
        return Standing("stale", "it says nothing of this engine", found.path, said)
    if outcome.failures:
        why = f"it says that the engine breaks {', '.join(outcome.failures)}"
        return Standing("failed", escape(why, limit=500), found.path, said)
    if not outcome.is_proven:
        return Standing("failed", "it says that no job of the engine was run", found.path, said)
    return Standing("valid", "", found.path, said)


def _best(own: Sequence[FoundCertificate], engine: str, content: InstalledContent | NoContent) -> Standing:
    """Of several certificates the newest that is about this content, whatever it says; else the newest."""
    standings = [standing_of(found, engine, content) for found in own]
    return next((each for each in standings if each.word in ("valid", "failed")), standings[0])


def _content(distribution: str, path: tuple[str, ...], python: str) -> InstalledContent | NoContent:
    try:
        return installed_content(distribution, path, python)
    except NoContent as problem:
        return problem


def is_certified(engine: EngineDescription) -> bool:
    """Whether its package has a certificate that is valid for it."""
    return engine.certificate is not None and engine.certificate.word == "valid"


def _reason(engine: EngineDescription) -> str:
    standing = engine.certificate
    if standing is None:
        return f"it has no certificate, and {SETTING} is on"
    return f"its certificate is {standing.word} ({standing.reason}), and {SETTING} is on"


def _remedy(engine: EngineDescription) -> str:
    standing = engine.certificate
    if standing is not None and standing.word == "newer":
        return "update studio-worker"
    if standing is not None and standing.word == "failed":
        if engine.environment:
            return f"update it: pip --python {engine.python} install --upgrade {engine.distribution}"
        return f"update it: studio-worker plugins install --upgrade {engine.distribution}"
    check = f"studio-worker plugins check {engine.distribution} --certificate"
    if standing is not None and standing.is_changed:
        return f"reinstall the package, or check it again if you changed it: {check}"
    return check
