import json
import stat
from datetime import UTC, datetime

import pytest

from studio_worker.engines.certificates import MAX_BYTES, read_certificate
from studio_worker.testing import EngineReport, Outcome, Report, RuleReport
from studio_worker.testing.certifying import (
    CannotCertify,
    certify,
    content_to_certify,
    keep_certificate,
    write_certificate,
)

NOON = datetime(2026, 1, 5, 12, 0, 0, 123_456, tzinfo=UTC)


def report(distribution="fox", version="1.0", *, engine="fox", message="it ran", outcome=Outcome.PASSED):
    rules = (RuleReport("every-kind-runs", outcome, message, 1.5),)
    return Report(
        distribution=distribution,
        version=version,
        kit_version="7",
        api_version=1,
        engines=(EngineReport(engine, rules),),
    )


@pytest.fixture
def fox(tmp_path, monkeypatch):
    """The module of an installed package whose files are listed."""
    folder = tmp_path / "site"
    info = folder / "fox-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fox\nVersion: 1.0\n")
    (info / "RECORD").write_text("fox.py,,\nfox-1.0.dist-info/METADATA,,\n")
    (folder / "fox.py").write_text("FOX = 1\n")
    monkeypatch.syspath_prepend(folder)
    return folder / "fox.py"


@pytest.fixture
def before(fox):
    return content_to_certify("fox")


def test_a_certificate_says_what_the_kit_found_and_on_what(before):
    made = certify([report()], before, now=NOON)
    assert (made.distribution, made.version, made.kit_version, made.api_version) == ("fox", "1.0", "7", 1)
    assert made.content_sha256 == before.sha256
    assert made.checked_at == NOON.replace(microsecond=0)
    (rule,) = made.of_engine("fox").rules
    assert (rule.rule, rule.outcome, rule.message, rule.secs) == ("every-kind-runs", "passed", "it ran", 1.5)
    assert made.python.startswith("3.")
    assert made.platform


def test_failures_are_written_down_too(before):
    made = certify([report(outcome=Outcome.FAILED)], before)
    assert made.of_engine("fox").failures == ("every-kind-runs",)


def test_the_plugins_of_one_package_share_a_certificate(before):
    made = certify([report(), report(engine="vixen")], before)
    assert [engine.name for engine in made.engines] == ["fox", "vixen"]


def test_a_package_of_another_interpreter_is_hashed_where_that_one_finds_it(fox, monkeypatch):
    path = (str(fox.parent),)
    monkeypatch.undo()
    with pytest.raises(CannotCertify, match="is not installed"):
        content_to_certify("fox")
    before = content_to_certify("fox", path)
    assert certify([report()], before, path=path).content_sha256 == before.sha256


def test_the_certificates_of_several_environments_lie_side_by_side(before, tmp_path):
    made = certify([report()], before)
    kept = [keep_certificate(made, tmp_path / "kept", name) for name in ("", "den", "a/b")]
    assert [path.name for path in kept] == ["fox-1.0.json", "fox-1.0-den.json", "fox-1.0-a_b.json"]


def test_a_package_that_changed_while_it_was_checked_gets_none(before, fox):
    fox.write_text("FOX = 2\n")
    with pytest.raises(CannotCertify, match="has changed while it was checked"):
        certify([report()], before)


@pytest.mark.parametrize(
    ("given", "about"),
    [
        (report(distribution="vixen"), "vixen 1.0"),
        (report(version="2.0"), "fox 2.0"),
        (report(distribution="", version=""), "an engine that is not installed"),
    ],
    ids=["package", "version", "none"],
)
def test_a_report_about_something_else_is_no_ground(before, given, about):
    with pytest.raises(CannotCertify, match=f"the report is about {about}, not about fox 1.0"):
        certify([given], before)


def test_a_package_that_cannot_be_told_from_others_is_refused_before_it_is_checked():
    with pytest.raises(CannotCertify, match=r"nobody-made-this cannot be certified: .* is not installed"):
        content_to_certify("nobody-made-this")


def test_what_is_written_is_what_is_read(before, tmp_path):
    made = certify([report(message="unicode: 狐 \u202e")], before)
    write_certificate(made, tmp_path / "fox.json")
    assert read_certificate(tmp_path / "fox.json") == made


def test_the_file_is_json_that_a_person_can_read(before, tmp_path):
    write_certificate(certify([report(message="ein Fuchs: 狐")], before), tmp_path / "fox.json")
    text = (tmp_path / "fox.json").read_text()
    assert json.loads(text)["schema"] == 1
    assert "ein Fuchs: 狐" in text
    assert text.endswith("}\n")


def test_a_worker_finds_it_by_the_packages_name(before, tmp_path):
    path = keep_certificate(certify([report()], before), tmp_path / "certificates")
    assert path == tmp_path / "certificates" / "fox-1.0.json"
    assert read_certificate(path).distribution == "fox"


def test_the_next_certificate_takes_the_place_of_the_last(before, tmp_path):
    keep_certificate(certify([report()], before), tmp_path / "certificates")
    path = keep_certificate(certify([report(outcome=Outcome.FAILED)], before), tmp_path / "certificates")
    assert [each.name for each in path.parent.iterdir()] == ["fox-1.0.json"]
    assert read_certificate(path).of_engine("fox").failures


def test_the_folder_is_closed_to_others(before, tmp_path):
    path = keep_certificate(certify([report()], before), tmp_path / "certificates")
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_place_that_cannot_be_written_is_named(before, tmp_path):
    (tmp_path / "certificates").write_text("")
    with pytest.raises(CannotCertify, match="certificates cannot be made"):
        keep_certificate(certify([report()], before), tmp_path / "certificates")
    with pytest.raises(CannotCertify, match=r"fox\.json cannot be written: No such file"):
        write_certificate(certify([report()], before), tmp_path / "nowhere" / "fox.json")


def test_long_sentences_are_cut_so_that_the_file_stays_readable(before):
    made = certify([report(message="x" * 100_000)], before)
    assert len(made.of_engine("fox").rules[0].message) == 1_000


def test_a_certificate_that_nobody_would_read_is_not_written(before, tmp_path):
    made = certify([report(message="x" * 1_000)], before)
    engine = made.engines[0].model_copy(update={"rules": made.engines[0].rules * 400})
    with pytest.raises(CannotCertify, match=f"at most {MAX_BYTES:,} are read"):
        write_certificate(made.model_copy(update={"engines": (engine,) * 9}), tmp_path / "fox.json")
    assert not (tmp_path / "fox.json").exists()
