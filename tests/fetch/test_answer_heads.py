"""What a server may say of a file: whatever it is, bytes are only ever appended where they belong."""

from __future__ import annotations

from contextlib import suppress
from types import SimpleNamespace
from typing import Any

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict
from yarl import URL

from studio_worker.errors import FetchFailed, FetchRefused
from studio_worker.fetch.answer import check_answer, read_answer
from studio_worker.fetch.resumable_file import Note

NUMBERS = st.integers(0, 120) | st.sampled_from([2**63, 10**18, 10**30])
RANGES = st.one_of(
    st.builds("bytes {}-{}/{}".format, NUMBERS, NUMBERS, NUMBERS | st.just("*")),
    st.builds("bytes */{}".format, NUMBERS),
    st.sampled_from(
        ["", "bytes", "bytes 50-99", "items 50-99/100", "bytes ٥٠-99/100", "bytes 50-99/-1", "bytes -1-5/9"]
    ),
    st.text(max_size=20),
)
ETAGS = st.sampled_from(['"a"', '"b"', 'W/"a"', '"', "", '"a"\r\nX: y', '"é"', '"' + "x" * 600 + '"']) | st.text(
    max_size=9
)


def answer_of(status: int, length: int | None, **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return SimpleNamespace(
        status=status,
        headers=CIMultiDict(named),
        content_length=length,
        content_type="application/octet-stream",
        reason="Some",
    )


@settings(print_blob=True)
@given(said=RANGES, etag=ETAGS, have=st.integers(1, 110), known=st.none() | st.integers(1, 110), status=st.just(206))
@example(said="bytes 50-99/100", etag='"a"', have=50, known=None, status=206)
def test_a_range_is_appended_only_behind_what_is_here(
    said: str, etag: str, have: int, known: int | None, status: int
) -> None:
    note = Note("s", validator='"a"', total=known, sha256="ab" * 32)
    answer = read_answer(answer_of(status, 50, Content_Range=said, ETag=etag), have, note)
    if answer.restart:
        assert answer.restart.isprintable()
        return
    assert answer.start == have
    assert said.strip().lower().startswith(f"bytes {have}-")
    assert not answer.is_complete
    assert answer.total is None or answer.total > have
    assert known is None or answer.total in (None, known)
    assert answer.validator in ("", '"a"') or not answer.validator.startswith('"')


@settings(print_blob=True)
@given(said=RANGES, have=st.integers(1, 110))
@example(said="bytes */50", have=50)
def test_a_part_counts_as_whole_only_where_the_server_has_as_many_bytes(said: str, have: int) -> None:
    answer = read_answer(answer_of(416, 0, Content_Range=said), have, Note("s"))
    assert answer.is_complete == (said.strip().lower() == f"bytes */{have}")
    assert answer.is_complete != bool(answer.restart)


@settings(print_blob=True)
@given(etag=ETAGS, changed=st.text(max_size=120))
def test_what_is_sent_back_as_a_validator_fits_into_one_header(etag: str, changed: str) -> None:
    validator = read_answer(answer_of(200, 5, ETag=etag, Last_Modified=changed), 0).validator
    assert validator.isascii()
    assert len(validator) <= 502
    assert validator == "" or validator.isprintable()


@settings(print_blob=True)
@given(
    status=st.integers(200, 599),
    encoding=st.sampled_from(["", "identity", "gzip", "br", "x\x1b[2J"]),
    total=st.none() | NUMBERS,
    largest=st.integers(10, 100),
)
def test_only_a_plain_answer_of_the_right_size_passes(
    status: int, encoding: str, total: int | None, largest: int
) -> None:
    assume(total is None or total < 2**64)
    wanted: Any = SimpleNamespace(what="m", sha256=None, largest=largest, smallest=10, expected=50)
    response = answer_of(status, total, Content_Encoding=encoding)
    with suppress(FetchFailed, FetchRefused):
        check_answer(response, URL("https://h/m.gguf"), read_answer(response, 0), wanted, has_token=False)
        assert status in (200, 206)
        assert encoding in ("", "identity")
        assert total is None or status == 206 or 10 <= total <= largest
