"""Certificates that are compared again while a worker runs."""

import pytest

from studio_worker.config import Config
from studio_worker.engines.certificate_guard import CertificateGuard
from studio_worker.engines.installed_content import installed_content
from studio_worker.errors import EngineError

from .packages import certificate, put
from .test_certification import FOX, GIVEN, SYNTHETIC


@pytest.fixture
def certify(tmp_path, fox_module):
    """Writes a certificate about the package as it is now."""

    def write(**fields):
        said = certificate(content_sha256=installed_content("fox").sha256, **fields)
        return put(tmp_path / "state" / "certificates", "fox-1.0.json", said)

    return write


class Guarded:
    """A guard, the settings that it sees, and how often it wanted the engines looked at again."""

    def __init__(self, folder):
        self.folder = folder
        self.looks = 0
        self.require(True)
        self.guard = CertificateGuard(lambda: self.config, self._want)

    def require(self, is_required):
        self.config = Config(api_base_url=None, state_dir=self.folder, require_certified_engines=is_required)

    def _want(self):
        self.looks += 1


@pytest.fixture
def guarded(tmp_path):
    return Guarded(tmp_path / "state")


def test_a_package_as_it_was_certified_may_start(certify, guarded):
    certify()
    guarded.guard.check(FOX)
    assert guarded.looks == 0


def test_a_package_that_has_changed_may_not_and_is_looked_at_again(certify, guarded, fox_module):
    certify()
    guarded.guard.check(FOX)
    fox_module.write_text(fox_module.read_text() + "\n# an edit\n")
    with pytest.raises(EngineError) as refused:
        guarded.guard.check(FOX)
    assert str(refused.value) == (
        "engine 'fox' is not started: its certificate is stale (the files of the package are not those that were "
        "checked), and require_certified_engines is on; remedy: reinstall the package, or "
        "check it again if you changed it: studio-worker plugins check fox --certificate"
    )
    assert refused.value.retryable
    assert guarded.looks == 1


def test_a_package_that_was_restored_may_start_again(certify, guarded, fox_module):
    certify()
    kept = fox_module.read_text()
    fox_module.write_text("# another\n")
    with pytest.raises(EngineError):
        guarded.guard.check(FOX)
    fox_module.write_text(kept)
    guarded.guard.check(FOX)


def test_a_file_more_that_takes_the_place_of_its_module_is_named(certify, guarded, fox_module):
    certify()
    put(fox_module.with_suffix(""), "__init__.py", "")
    with pytest.raises(EngineError, match=r"plugin_fox/__init__\.py"):
        guarded.guard.check(FOX)


def test_a_certificate_that_is_gone_counts_no_more_whatever_it_was_worth_at_the_start(certify, guarded, tmp_path):
    path = certify()
    from studio_worker.engines.certification import with_certificates

    (certified,) = with_certificates([FOX], path.parent)
    assert certified.certificate.word == "valid"
    path.unlink()
    with pytest.raises(EngineError, match="it has no certificate"):
        guarded.guard.check(certified)


@pytest.mark.parametrize("engine", [SYNTHETIC, GIVEN], ids=lambda engine: engine.name)
def test_what_needs_no_certificate_starts_without_one(engine, guarded):
    guarded.guard.check(engine)


def test_the_settings_of_the_moment_decide(fox_module, guarded):
    guarded.require(False)
    guarded.guard.check(FOX)
    guarded.require(True)
    with pytest.raises(EngineError):
        guarded.guard.check(FOX)


def test_a_certificate_that_comes_is_noticed_once(certify, guarded):
    guarded.guard.look()
    assert guarded.looks == 0
    certify()
    guarded.guard.look()
    guarded.guard.look()
    assert guarded.looks == 1


def test_nothing_is_noticed_where_none_is_required(certify, guarded):
    guarded.require(False)
    certify()
    guarded.guard.look()
    assert guarded.looks == 0
