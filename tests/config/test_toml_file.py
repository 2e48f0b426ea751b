from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from studio_worker.config.toml_file import MAX_BYTES, read_toml, signature_of
from studio_worker.errors import ConfigError

Write = Callable[[str | bytes], Path]


def refusal(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        read_toml(path)
    assert caught.value.exit_code == 78
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_file_is_read_with_its_signature(write: Write) -> None:
    path = write("a = 1")
    file = read_toml(path)
    assert (file.table, file.text, file.signature) == ({"a": 1}, "a = 1", signature_of(path))


def test_no_file_is_an_empty_table(config_file: Path) -> None:
    file = read_toml(config_file)
    assert (file.table, file.signature) == ({}, None)


def test_the_line_of_a_key_is_found(write: Write) -> None:
    file = read_toml(write("# a = 0\nb = 1\n  a = 2\n[plugins.x]\nc = 3\n"))
    assert (file.line_of("a"), file.line_of("b"), file.line_of("plugins"), file.line_of("zz")) == (3, 2, 4, None)


def test_a_folder_is_refused_by_name(tmp_path: Path) -> None:
    assert refusal(tmp_path) == f"{tmp_path} cannot be read as a config file: it is a folder"


def test_a_named_pipe_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "it is a named pipe" in refusal(tmp_path / "pipe")


def test_a_device_is_refused() -> None:
    assert "it is a device" in refusal(Path("/dev/zero"))


def test_a_file_of_two_gigabytes_is_refused_by_its_size(config_file: Path) -> None:
    with config_file.open("wb") as file:
        file.truncate(2 << 30)
    assert f"at most {MAX_BYTES:,}" in refusal(config_file)


def test_a_path_under_a_file_is_refused(write: Write) -> None:
    assert "Not a directory" in refusal(write("") / "config.toml")


def test_a_path_with_a_nul_is_refused() -> None:
    assert "cannot be read" in refusal(Path("a\0b"))


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"\xef\xbb\xbfa = 1", "starts with a UTF-8 byte order mark"),
        ("a = 1".encode("utf-16"), "starts with UTF-16"),
        ("a = 1\n".encode("utf-16-le"), "line 1: holds a NUL byte"),
        (b"a = 1\nb = \x00", "line 2: holds a NUL byte"),
        (b"a = 1\n\n\xff\xfe\xfa", "line 3: is not UTF-8 text"),
        (bytes(range(1, 256)), "is not UTF-8 text"),
    ],
)
def test_what_is_no_utf8_text_is_named(raw: bytes, said: str, write: Write) -> None:
    assert said in refusal(write(raw))


@pytest.mark.parametrize("opening", ["[", "x = [", "x = {a="])
def test_nesting_of_5000_levels_is_refused(opening: str, write: Write) -> None:
    path = write(opening[:-1] + opening[-1] * 5_000 if opening != "x = {a=" else "x = " + "{a=" * 5_000)
    assert str(path) in refusal(path)


def test_a_repeated_key_is_refused_with_line_and_column(write: Write) -> None:
    path = write("a = 1\na = 2\n")
    assert refusal(path) == f"{path}, line 2, column 6: is no TOML: cannot overwrite a value"


def test_an_unterminated_string_is_refused_with_line_and_column(write: Write) -> None:
    assert ", line 2, column " in refusal(write('a = 1\nb = "open\n'))


def test_an_end_in_the_middle_is_refused_with_the_last_line(write: Write) -> None:
    assert ", line 2, column " in refusal(write("a = 1\nb = ["))


def test_an_integer_of_5000_digits_is_refused(write: Write) -> None:
    assert "is no TOML" in refusal(write("a = " + "1" * 5_000))


@pytest.mark.parametrize(
    "line",
    [
        'auth_token = "hunter2',
        "auth_token = hunter2",
        "[hunter2]\n[hunter2]",
        "hunter2.a = 1\nhunter2 = 2",
        'x = {"hunter2" = 1, "hunter2" = 2}',
        "auth_token hunter2",
    ],
)
def test_the_offending_line_is_never_quoted(line: str, write: Write) -> None:
    assert "hunter2" not in refusal(write(line))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(raw=st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")))
def test_any_bytes_are_a_table_or_a_sentence(raw: bytes, config_file: Path) -> None:
    config_file.write_bytes(raw)
    try:
        table: object = read_toml(config_file).table
    except ConfigError as error:
        table = str(error)
    assert isinstance(table, dict) or str(config_file) in str(table)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(min_value=0, max_value=200))
def test_a_file_cut_anywhere_never_shows_its_token(cut: int, config_file: Path) -> None:
    config_file.write_text('auth_token = "hunter2"\n[plugins.hunter2]\nhunter2 = ["hunter2", {hunter2 = 1}]\n'[:cut])
    try:
        read_toml(config_file)
        said = ""
    except ConfigError as error:
        said = str(error)
    assert "hunter2" not in said


def test_a_path_that_would_forge_a_line_is_escaped(tmp_path: Path) -> None:
    path = tmp_path / "a\nERROR forged.toml"
    path.write_text("=")
    assert "\\nERROR forged" in refusal(path)
