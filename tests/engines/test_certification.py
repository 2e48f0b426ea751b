"""What a certificate is worth for an engine that is here, and what becomes of an engine without one."""

import py_compile
from dataclasses import replace
from importlib.util import cache_from_source
from types import MappingProxyType

import pytest

from studio_worker.engines.certificates import Standing
from studio_worker.engines.certification import needs_certificate, refuse_uncertified, with_certificates
from studio_worker.engines.description import EngineDescription
from studio_worker.engines.installed_content import installed_content
from studio_worker.engines.router import Routes
from studio_worker.errors import NoEngine
from studio_worker.wire.kinds import TaskKind

from .packages import certificate, engine, put

FOX = EngineDescription(
    name="fox",
    distribution="fox",
    version="1.0",
    plugin="fox",
    entry_point="plugin_fox",
    sources=("fox",),
    models=MappingProxyType({TaskKind.IMAGE: ("fox:*",)}),
)
SYNTHETIC = EngineDescription(
    name="synthetic",
    distribution="studio-worker",
    plugin="synthetic",
    sources=("synthetic",),
    models=MappingProxyType({TaskKind.IMAGE: ("synthetic",)}),
)
GIVEN = EngineDescription(name="mine", sources=("mine",), models=MappingProxyType({TaskKind.IMAGE: ("mine-1",)}))


@pytest.fixture
def keep(tmp_path, fox_module):
    """Writes a certificate about the package as it is now."""

    def write(name="fox-1.0.json", content=None, **fields):
        fields = {"content_sha256": installed_content("fox").sha256} | fields
        put(tmp_path / "certificates", name, certificate(**fields) if content is None else content)

    return write


@pytest.fixture
def standing(tmp_path):
    """The standing of an engine of the package."""

    def look(described=FOX):
        (found,) = with_certificates([described], tmp_path / "certificates")
        return found.certificate

    return look


def test_a_certificate_about_this_content_is_valid(keep, standing):
    keep()
    assert (standing().word, standing().reason) == ("valid", "")
    assert standing().certificate.kit_version == "1"


def test_without_a_certificate_there_is_no_standing(fox_module, standing):
    assert standing() is None


@pytest.mark.parametrize("change", ["edit", "remove", "add", "byte code"])
def test_a_package_that_was_changed_is_told_to_be_reinstalled(keep, standing, fox_module, change):
    keep()
    match change:
        case "edit":
            fox_module.write_text("# another\n")
        case "remove":
            fox_module.unlink()
        case "add":
            put(fox_module.with_suffix(""), "__init__.py", "")
        case _:
            source = fox_module.with_name("other.py")
            source.write_text("other = 1\n")
            py_compile.compile(str(source), cfile=cache_from_source(str(fox_module)), dfile=str(fox_module))
            source.unlink()
    (engine,) = refuse_uncertified([replace(FOX, certificate=standing())])
    assert engine.remedy.startswith("reinstall the package, or check it again if you changed it: ")


def test_an_edited_file_makes_it_stale(keep, standing, fox_module):
    keep()
    fox_module.write_text(fox_module.read_text() + "\n# harmless\n")
    assert (standing().word, standing().reason) == ("stale", "the files of the package are not those that were checked")


def test_a_file_that_was_removed_makes_it_stale_by_name(keep, standing, fox_module):
    keep()
    fox_module.unlink()
    assert standing().word == "stale"
    assert "plugin_fox.py" in standing().reason


def test_another_version_makes_it_stale(keep, standing):
    keep(version="0.9")
    assert (standing().word, standing().reason) == ("stale", "it is for version 0.9, here is 1.0")


def test_another_plugin_api_makes_it_stale(keep, standing):
    keep(api_version=2)
    assert (standing().word, standing().reason) == ("stale", "it is for plugin API 2, this worker serves 1")


def test_an_engine_that_it_does_not_name_is_not_certified(keep, standing):
    keep(engines=[engine("vixen")])
    assert (standing().word, standing().reason) == ("stale", "it says nothing of this engine")


def test_a_rule_that_failed_is_named(keep, standing):
    keep(engines=[engine("fox", no_leaks="failed", cancel_is_honoured="failed", determinism="skipped")])
    assert standing().word == "failed"
    assert "no-leaks, cancel-is-honoured" in standing().reason


def test_an_engine_whose_jobs_were_not_run_has_not_passed(keep, standing):
    keep(engines=[engine("fox", every_kind_runs="skipped")])
    assert (standing().word, standing().reason) == ("failed", "it says that no job of the engine was run")


def test_a_rule_that_was_skipped_holds_nothing_back_and_is_not_vouched_for(keep, standing):
    keep(engines=[engine("fox", heeds_cancel="skipped")])
    assert standing().word == "valid"
    told = {rule.rule: rule.outcome for rule in standing().certificate.of_engine("fox").rules}
    assert told["heeds-cancel"] == "skipped"


def test_the_failure_of_one_engine_is_not_its_neighbours(keep, standing):
    keep(engines=[engine("fox"), engine("vixen", no_leaks="failed")])
    assert standing().word == "valid"


def test_a_damaged_file_and_a_newer_one_have_their_words(keep, standing):
    keep(content="{")
    assert standing().word == "unreadable"
    keep(content={"schema": 9, "distribution": "fox"})
    assert (standing().word, standing().reason) == ("newer", "its form is 9, this worker reads 1: update studio-worker")


def test_of_several_the_one_about_this_content_counts(keep, standing):
    keep("fox-2.json", checked_at="2026-02-01T00:00:00Z", content_sha256="0" * 64)
    keep("fox-1.json", checked_at="2026-01-01T00:00:00Z")
    keep("fox-0.json", content="{")
    assert standing().word == "valid"


def test_a_later_failure_on_the_same_content_takes_the_place_of_a_pass(keep, standing):
    keep("a.json", checked_at="2026-01-01T00:00:00Z")
    keep("b.json", checked_at="2026-02-01T00:00:00Z", engines=[engine("fox", no_leaks="failed")])
    assert standing().word == "failed"


def test_a_package_without_a_certificate_is_not_hashed(keep, tmp_path, monkeypatch):
    keep(distribution="vixen", name="vixen-1.0.json")
    monkeypatch.setattr("studio_worker.engines.certification.installed_content", None)
    (found,) = with_certificates([FOX], tmp_path / "certificates")
    assert found.certificate is None


def test_a_package_is_hashed_once_for_all_its_engines(keep, tmp_path, monkeypatch):
    keep()
    hashed = []
    monkeypatch.setattr(
        "studio_worker.engines.certification.installed_content",
        lambda name, *where: hashed.append(name) or installed_content(name, *where),
    )
    with_certificates([FOX, FOX], tmp_path / "certificates")
    assert hashed == ["fox"]


def test_an_editable_install_cannot_be_certified_and_says_what_to_do(keep, standing, shop):
    keep()
    (shop.folder / "fox-1.0.dist-info" / "direct_url.json").write_text('{"url": "", "dir_info": {"editable": true}}')
    assert standing().word == "stale"
    assert "install a wheel of it" in standing().reason


@pytest.mark.parametrize("engine", [SYNTHETIC, GIVEN], ids=lambda engine: engine.name)
def test_the_built_in_engine_and_those_of_an_embedder_need_none(engine):
    assert not needs_certificate(engine)
    assert refuse_uncertified([engine]) == (engine,)


def test_a_plugin_of_hooks_alone_has_nothing_to_certify():
    hooks = EngineDescription(name="ears", distribution="ears", plugin="ears", hooks=("studio_worker_job_started",))
    assert refuse_uncertified([hooks]) == (hooks,)


def test_an_engine_without_a_certificate_is_unavailable_with_the_command_that_helps():
    (refused,) = refuse_uncertified([FOX])
    assert refused.status == "unavailable"
    assert refused.reason == "it has no certificate, and require_certified_engines is on"
    assert refused.remedy == "studio-worker plugins check fox --certificate"


@pytest.mark.parametrize(
    ("word", "remedy"),
    [
        ("stale", "studio-worker plugins check fox --certificate"),
        ("unreadable", "studio-worker plugins check fox --certificate"),
        ("failed", "update it: studio-worker plugins install --upgrade fox"),
        ("newer", "update studio-worker"),
    ],
)
def test_a_certificate_that_does_not_hold_is_told_by_its_word_and_remedy(tmp_path, word, remedy):
    bad = Standing(word, "so it is", tmp_path)
    (refused,) = refuse_uncertified([EngineDescription(**{**vars(FOX), "certificate": bad})])
    assert (refused.status, refused.remedy) == ("unavailable", remedy)
    assert refused.reason == f"its certificate is {word} (so it is), and require_certified_engines is on"


def test_a_plugin_in_an_environment_that_failed_is_updated_there(tmp_path):
    apart = replace(FOX, environment="den", python="/den/bin/python", certificate=Standing("failed", "", tmp_path))
    (refused,) = refuse_uncertified([apart])
    assert refused.remedy == "update it: pip --python /den/bin/python install --upgrade fox"


def test_a_valid_certificate_lets_an_engine_be_used(keep, tmp_path):
    keep()
    certified = with_certificates([FOX], tmp_path / "certificates")
    assert refuse_uncertified(certified) == certified


@pytest.mark.parametrize("status", ["unavailable", "disabled", "broken"])
def test_an_engine_that_cannot_run_keeps_its_own_reason(status):
    lame = EngineDescription(**{**vars(FOX), "status": status, "reason": "it is lame"})
    assert refuse_uncertified([lame]) == (lame,)


def test_a_refused_engine_is_neither_advertised_nor_routed_to_and_the_refusal_says_why():
    routes = Routes.build(refuse_uncertified([FOX, SYNTHETIC]))
    assert routes.sources_per_kind == {TaskKind.IMAGE: ("synthetic",)}
    with pytest.raises(NoEngine) as refused:
        routes.pick(TaskKind.IMAGE, "fox-1", "fox")
    assert "it has no certificate, and require_certified_engines is on" in str(refused.value)
    assert "remedy: studio-worker plugins check fox --certificate" in str(refused.value)
