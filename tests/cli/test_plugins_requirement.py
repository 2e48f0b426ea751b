from __future__ import annotations

from pathlib import Path

import click
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from studio_worker.cli.plugins_requirement import read_name, read_requirement

from .environments import make_wheel


@pytest.mark.parametrize(
    ("text", "argument"),
    [
        ("studio-worker-fox", "studio-worker-fox"),
        ("Fox_1.x", "Fox_1.x"),
        ("fox==1.0", "fox==1.0"),
        ("fox >= 1.0, < 2", "fox>=1.0,<2"),
        ("fox[video]~=1.4.2", "fox[video]~=1.4.2"),
        ("fox[a, b]!=1.0.*", "fox[a,b]!=1.0.*"),
        ("fox===2!1.0+local-1", "fox===2!1.0+local-1"),
    ],
)
def test_a_name_with_or_without_versions_is_taken(text: str, argument: str) -> None:
    assert read_requirement(text).argument == argument


def test_a_name_is_known_as_indexes_know_it() -> None:
    assert read_requirement("Studio_Worker.Fox>1").name == "studio-worker-fox"


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "-x",
        "--index-url",
        "--index-url=http://evil.example/simple",
        "-rrequirements.txt",
        "x; rm -rf",
        "x;python_version>'3'",
        "x && y",
        "x | y",
        "$(x)",
        "`x`",
        "x\ny",
        "x\x00",
        "fox==1.0 --index-url",
        "fox==",
        "fox=1",
        "fox>1,",
        "fox[",
        "fox[]",
        "fox@1",
        "föx",
        "fox٣==1",
        "x.zip",
        "x.tar.gz",
        "fox-",
        "x/..",
        "a" * 200,
    ],
)
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter):
        read_requirement(text)


@pytest.mark.parametrize(
    "text",
    [
        "https://files.example/fox.whl",
        "file:///tmp/fox.whl",
        "git+https://git.example/fox",
        "git+ssh:git.example/fox",
        "fox @ https://files.example/fox.whl",
    ],
)
def test_an_address_is_refused_with_what_to_do_instead(text: str) -> None:
    with pytest.raises(click.BadParameter, match=r"address: download the package"):
        read_requirement(text)


def test_a_wheel_is_given_by_its_true_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = make_wheel(tmp_path / "wheels")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    found = read_requirement(f"../wheels/{wheel.name}")
    assert (found.argument, found.shown, found.name) == (wheel.as_uri(), str(wheel), "studio-worker-fox")


def test_a_wheel_beside_the_user_needs_no_dot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = make_wheel(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert read_requirement(wheel.name).argument == wheel.as_uri()


def test_a_link_is_followed_before_its_name_is_believed(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    link = tmp_path / "fox-1.0-py3-none-any.whl"
    link.symlink_to(tmp_path / "secret.txt")
    with pytest.raises(click.BadParameter, match="no wheel"):
        read_requirement(str(link))


def test_a_project_is_a_folder_with_a_pyproject(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("")
    found = read_requirement(f"{tmp_path}/")
    assert (found.argument, found.name) == (tmp_path.as_uri(), None)


def test_nothing_in_a_path_reads_as_extras_or_a_marker(tmp_path: Path) -> None:
    folder = tmp_path / "a;b [c] #d"
    folder.mkdir()
    (folder / "pyproject.toml").write_text("")
    assert not set(";[]# ") & set(read_requirement(str(folder)).argument)


@pytest.mark.parametrize("name", ["nothing.whl", "empty/", "fox.whl", "fox-1.0-py3-none-any.whl", "fox.tar.gz"])
def test_a_path_that_holds_no_package_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for file in ("fox.whl", "fox-1.0-py3-none-any.whl", "fox.tar.gz"):
        (tmp_path / file).write_text("no zip")
    with pytest.raises(click.BadParameter, match=r"cannot be used|no wheel|no project|damaged"):
        read_requirement(str(tmp_path / name))


@settings(max_examples=50)
@given(st.text(st.sampled_from("aA1.-_=<>!~[], ;/@\n$ü"), max_size=30))
def test_whatever_is_taken_as_a_name_is_one_word_that_no_installer_takes_for_an_option(text: str) -> None:
    try:
        found = read_requirement(text)
    except click.BadParameter:
        return
    # A path that is there, such as the working folder's, goes as an address.
    is_path = found.argument.startswith("file:///")
    assert found.argument.isascii()
    assert found.argument[0].isalnum()
    assert is_path or not set(found.argument) & set(" \t\n;&|$`'\"\\/@%(){}#^?")


@pytest.mark.parametrize("text", ["", "-y", "a b", "fox==1", "../fox", "x;y", "fox\n"])
def test_a_name_to_uninstall_is_a_name_alone(text: str) -> None:
    with pytest.raises(click.BadParameter):
        read_name(text)
