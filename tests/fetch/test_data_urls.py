from __future__ import annotations

import base64
import tracemalloc
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio_worker.errors import FetchRefused
from studio_worker.fetch import data_urls
from studio_worker.fetch.data_urls import MAX_DATA_BYTES, decode, is_data_url


def test_base64_is_decoded_with_its_media_type() -> None:
    carried = decode("data:Audio/WAV;base64,UklGRg==", limit_bytes=100)
    assert (carried.media_type, carried.data) == ("audio/wav", b"RIFF")


def test_percent_encoding_is_decoded() -> None:
    carried = decode("data:text/plain;charset=utf-8,a%20b%FF", limit_bytes=100)
    assert (carried.media_type, carried.data) == ("text/plain", b"a b\xff")


def test_a_missing_media_type_is_plain_text() -> None:
    assert decode("data:,x", limit_bytes=10).media_type == "text/plain"


@pytest.mark.parametrize("payload", ["UklGRg", "UklGRg%3D%3D", "UklGRg=="])
def test_padding_may_be_missing_or_escaped(payload: str) -> None:
    assert decode(f"data:audio/wav;base64,{payload}", limit_bytes=100).data == b"RIFF"


@pytest.mark.parametrize("payload", ["a", "!!!!", "UklG_g==", "Ukl GRg==", "ÜÜÜÜ", "====A"])
def test_bad_base64_is_refused(payload: str) -> None:
    with pytest.raises(FetchRefused, match="bad base64") as refused:
        decode(f"data:audio/wav;base64,{payload}", limit_bytes=100)
    assert refused.value.rule == "data-url"


@pytest.mark.parametrize("url", ["data:audio/wav;base64", "data:", "data:a b/c,x", "data:nonsense,x"])
def test_broken_syntax_is_refused(url: str) -> None:
    with pytest.raises(FetchRefused) as refused:
        decode(url, limit_bytes=100)
    assert refused.value.rule == "data-url"


@pytest.mark.parametrize("head", ["data:,", "data:audio/wav;base64,"])
def test_one_byte_over_the_limit_is_refused_and_the_limit_itself_is_not(head: str) -> None:
    def url(size: int) -> str:
        return head + (base64.b64encode(b"a" * size).decode() if "base64" in head else "a" * size)

    assert len(decode(url(1000), limit_bytes=1000).data) == 1000
    with pytest.raises(FetchRefused) as refused:
        decode(url(1001), limit_bytes=1000)
    assert refused.value.rule == "too-large"


def test_a_huge_url_is_refused_before_it_is_decoded() -> None:
    url = "data:audio/wav;base64," + "A" * 100_000_000
    tracemalloc.start()
    with pytest.raises(FetchRefused, match="8,388,608 bytes"):
        decode(url, limit_bytes=10**9)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000
    assert MAX_DATA_BYTES == 8_388_608


def test_the_scheme_is_known_in_any_case() -> None:
    assert is_data_url("DATA:,x")
    assert not is_data_url("https://files.example/data:")


@given(st.binary(max_size=200))
def test_what_was_encoded_comes_back(data: bytes) -> None:
    url = "data:application/octet-stream;base64," + base64.b64encode(data).decode()
    assert decode(url, limit_bytes=200).data == data


@given(st.text(max_size=60))
def test_any_text_is_judged_without_another_error(text: str) -> None:
    try:
        carried = decode(f"data:{text}", limit_bytes=20)
    except FetchRefused:
        return
    assert len(carried.data) <= 20


@pytest.mark.parametrize("piece", [4, 5, 6, 7])
@given(escapes=st.lists(st.sampled_from(["%41", "%4", "%", "%%41", "%25", "a", "=", "41"]), max_size=20))
def test_escapes_are_read_alike_wherever_a_piece_ends(piece: int, escapes: list[str]) -> None:
    payload = "".join(escapes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data_urls, "PIECE", piece)
        assert decode(f"data:,{payload}", limit_bytes=100).data == unquote_to_bytes(payload)


def test_a_long_payload_of_escapes_takes_little_more_memory_than_its_text() -> None:
    url = "data:image/png," + "%41" * 300_000
    tracemalloc.start()
    try:
        carried = decode(url, limit_bytes=MAX_DATA_BYTES)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert carried.data == b"A" * 300_000
    assert peak < 6 * len(url)
