import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio_worker.engines import certificates
from studio_worker.engines.certificates import (
    BadCertificate,
    Certificate,
    canonical,
    file_name,
    newest_first,
    read_certificate,
    read_folder,
)

from .packages import certificate, engine, put


@pytest.fixture
def write(tmp_path):
    def to_file(content=None, name="fox-1.0.json", **fields):
        return put(tmp_path / "certificates", name, certificate(**fields) if content is None else content)

    return to_file


def test_a_certificate_reads_back_as_it_was_written(write):
    found = read_certificate(write(wheel_sha256="a" * 64))
    assert Certificate.model_validate(found.model_dump()) == found
    assert read_certificate(write(json.dumps(found.to_json()))) == found
    assert found.to_json()["schema"] == 1


def test_it_says_which_rules_an_engine_broke(write):
    found = read_certificate(write(engines=[engine("fox"), engine("vixen", no_leaks="failed", determinism="skipped")]))
    assert found.of_engine("fox").failures == ()
    assert found.of_engine("vixen").failures == ("no-leaks",)
    assert found.of_engine("cub") is None


@pytest.mark.parametrize(("outcome", "proven"), [("passed", True), ("skipped", False), ("failed", False)])
def test_an_engine_is_proven_by_its_jobs(write, outcome, proven):
    found = read_certificate(write(engines=[engine("fox", every_kind_runs=outcome)]))
    assert found.of_engine("fox").is_proven is proven


def test_fields_that_a_later_worker_adds_are_no_damage(write):
    assert read_certificate(write(signed_by="somebody")).distribution == "fox"


DAMAGED = {
    "no json": "{",
    "no object": "[1]",
    "no utf-8": b'{"schema": "\xff"}',
    "nan": '{"schema": NaN}',
    "a key twice": '{"schema": 1, "schema": 1}',
    "deep": "[" * 10_000,
    "empty": "",
    "no schema": {key: value for key, value in certificate().items() if key != "schema"},
    "schema a text": certificate(schema="1"),
    "schema true": certificate(schema=True),
    "schema zero": certificate(schema=0),
    "no engines": {key: value for key, value in certificate().items() if key != "engines"},
    "engines a text": certificate(engines="fox"),
    "too many engines": certificate(engines=[engine("fox")] * 65),
    "another outcome": certificate(engines=[engine("fox", speed="splendid")]),
    "a short hash": certificate(content_sha256="abc"),
    "a loud hash": certificate(content_sha256="A" * 64),
    "a day without a zone": certificate(checked_at="2026-01-05T08:00:00"),
    "a long name": certificate(distribution="f" * 201),
    "an api of text": certificate(api_version="1"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_is_unreadable_and_says_where(write, name):
    with pytest.raises(BadCertificate, match="it is damaged: ") as refused:
        read_certificate(write(DAMAGED[name]))
    assert refused.value.word == "unreadable"


def test_a_newer_form_is_told_from_a_damaged_file(write):
    with pytest.raises(BadCertificate, match="its form is 2, this worker reads 1: update studio-worker") as refused:
        read_certificate(write({"schema": 2, "distribution": "fox", "all": "new"}))
    assert (refused.value.word, refused.value.distribution) == ("newer", "fox")


def test_a_file_past_the_bound_is_not_read_on(write):
    with pytest.raises(BadCertificate, match="larger than 1,048,576 bytes"):
        read_certificate(write(" " * (certificates.MAX_BYTES + 1)))


def test_a_pipe_or_a_folder_is_no_certificate(tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(BadCertificate, match="no regular file"):
        read_certificate(tmp_path / "pipe.json")
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(BadCertificate, match=r"directory|regular"):
        read_certificate(tmp_path / "folder.json")


def test_a_message_of_damage_cannot_drive_a_terminal(write):
    with pytest.raises(BadCertificate) as refused:
        read_certificate(write(certificate(engines=[{"name": "fox", "\x1b[2J": 1}])))
    assert "\x1b" not in str(refused.value)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_whatever_json_says_it_is_refused_in_words_or_read(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("any") / "any.json"
    path.write_text(json.dumps({**certificate(), "engines": value}))
    try:
        word = "read" if read_certificate(path).engines == () else "believed"
    except BadCertificate as refused:
        word = refused.word
    assert word in ("read", "unreadable")


def test_a_folder_that_is_not_there_holds_no_certificates(tmp_path):
    assert read_folder(tmp_path / "certificates") == ()


def test_a_folder_gives_its_certificates_and_what_is_wrong_with_others(write, tmp_path):
    write(name="a.json")
    write("{", name="b.json")
    write("no certificate", name="notes.txt")
    good, bad = read_folder(tmp_path / "certificates")
    assert good.certificate.distribution == "fox"
    assert (bad.certificate, bad.problem.word) == (None, "unreadable")


def test_of_a_folder_without_end_a_thousand_files_are_looked_at(write, tmp_path, monkeypatch):
    monkeypatch.setattr(certificates, "MAX_FILES", 3)
    for number in range(5):
        write(name=f"{number}.json")
    assert [found.path.name for found in read_folder(tmp_path / "certificates")] == ["0.json", "1.json", "2.json"]


@pytest.mark.parametrize(
    ("name", "content", "is_about"),
    [
        ("anything.json", certificate("Studio_Worker.Fox"), True),
        ("studio-worker-fox-1.0.json", certificate("vixen"), False),
        ("studio-worker-fox-1.0.json", "{", True),
        ("studio-worker-fox.json", "{", True),
        ("studio-worker-fox-hunt-1.0.json", "{", False),
        ("vixen-1.0.json", {"schema": 2, "distribution": "studio-worker-fox"}, True),
        ("vixen-1.0.json", "{", False),
    ],
)
def test_a_file_is_about_the_package_that_it_names_or_is_named_after(write, tmp_path, name, content, is_about):
    write(content, name=name)
    (found,) = read_folder(tmp_path / "certificates")
    assert found.is_about("studio-worker-fox") is is_about


def test_the_newest_comes_first_and_what_cannot_be_read_last(write, tmp_path):
    write(name="a.json", checked_at="2026-01-01T00:00:00Z")
    write("{", name="b.json")
    write(name="c.json", checked_at="2026-01-02T00:00:00+05:00")
    names = [found.path.name for found in sorted(read_folder(tmp_path / "certificates"), key=newest_first)]
    assert names == ["c.json", "a.json", "b.json"]


def test_a_packages_file_has_a_name_that_no_version_can_lead_astray():
    assert file_name("Studio_Worker.Fox", "1.0+cu12") == "studio-worker-fox-1.0+cu12.json"
    assert file_name("fox", "../../etc/passwd") == "fox-.._.._etc_passwd.json"


def test_names_are_compared_as_the_index_does():
    assert canonical("Studio_Worker.-Fox") == "studio-worker-fox"
