from __future__ import annotations

import gzip
import hashlib
from typing import Any

import pytest

from studio_worker.errors import ModelUnavailable

from .file_server import DATA, FileServer, say, up_to

SHA = hashlib.sha256(DATA).hexdigest()


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (400, "Some"),
        (401, "hf_token goes to Hugging Face alone"),
        (403, "use a signed link"),
        (404, "nothing is there; check the URL"),
        (410, "gone for good"),
        (416, "Some"),
        (451, "withheld for legal reasons"),
        (204, "Some"),
        (304, "Some"),
    ],
)
async def test_a_final_status_is_asked_once_and_names_its_remedy(
    server: FileServer, pull: Any, status: int, words: str
) -> None:
    server.script = [say(status, b"", Content_Length=0)]
    error = await pull.failed()
    assert not error.retryable
    assert len(server.asked) == 1
    assert f"answered {status}" in str(error)
    assert words in str(error)
    assert "secret" not in str(error)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
async def test_a_passing_status_is_asked_again(server: FileServer, pull: Any, status: int) -> None:
    server.script = [say(status, b"busy")]
    await pull()
    assert pull.dest.read_bytes() == DATA
    assert len(server.asked) == 2


async def test_a_page_in_the_middle_of_a_resume_is_never_written(server: FileServer, pull: Any) -> None:
    page = say(503, b"<html>" * 1000, Content_Type="text/html")
    server.script = [up_to(900_000), page, page]
    await pull()
    assert pull.dest.read_bytes() == DATA
    assert server.asked[3].start == server.asked[1].start


@pytest.mark.parametrize("status", [404, 410])
async def test_what_came_of_a_file_that_is_gone_goes_too(server: FileServer, pull: Any, status: int) -> None:
    server.script = [up_to(900_000), say(status, b"")]
    await pull.failed()
    assert {path.name for path in pull.dest.parent.rglob("*")} <= {".downloads", "a.bin.lock"}


async def test_what_came_stays_where_a_refusal_may_be_mended(server: FileServer, pull: Any) -> None:
    server.script = [up_to(900_000), say(403, b"")]
    await pull.failed()
    assert pull.part.exists()


async def test_packed_bytes_are_refused_since_plain_ones_were_asked_for(server: FileServer, pull: Any) -> None:
    server.script = [say(200, gzip.compress(DATA), Content_Encoding="gzip")]
    assert (await pull.refused()).rule == "content-encoding"
    assert server.asked[0].headers["accept-encoding"] == "identity"
    assert not pull.part.exists()
    assert not pull.dest.exists()


async def test_a_packed_range_is_not_appended(server: FileServer, pull: Any) -> None:
    async def packed(server: FileServer, asked: Any, writer: Any) -> None:
        said = f"bytes {asked.start}-{len(DATA) - 1}/{len(DATA)}"
        answer = say(206, b"x" * 10, ETag='"one"', Content_Range=said, Content_Encoding="br", Content_Length=10)
        await answer(server, asked, writer)

    server.script = [up_to(900_000), packed]
    assert (await pull.refused()).rule == "content-encoding"


async def test_a_login_page_is_no_model(server: FileServer, pull: Any) -> None:
    server.script = [say(200, b"<html>", Content_Type="Text/HTML; charset=utf-8")]
    error = await pull.refused()
    assert error.rule == "not-a-model"
    assert "is not a model: text/html" in str(error)


async def test_a_body_longer_than_its_range_takes_the_part_with_it(server: FileServer, pull: Any) -> None:
    async def more(server: FileServer, asked: Any, writer: Any) -> None:
        said = f"bytes {asked.start}-{len(DATA) - 1}/{len(DATA)}"
        answer = say(206, DATA[asked.start :] + b"more", ETag='"one"', Content_Range=said)
        await answer(server, asked, writer)

    server.script = [up_to(900_000), more]
    assert (await pull.refused()).rule == "too-large"
    assert not pull.part.exists()


async def test_a_body_shorter_than_announced_is_continued(server: FileServer, pull: Any) -> None:
    server.script = [say(200, DATA[:900_000], ETag='"one"', Content_Length=len(DATA))]
    await pull()
    assert server.asked[1].start > 0
    assert pull.dest.read_bytes() == DATA


async def test_an_endless_body_is_cut_at_twice_what_the_claim_names(server: FileServer, pull: Any) -> None:
    server.script = [say(200, DATA, Transfer_Encoding="identity")]
    error = await pull.refused(sha256=SHA, largest=300_000, expected=150_000)
    assert error.rule == "too-large"
    assert not pull.part.exists()


@pytest.mark.parametrize(
    ("bounds", "rule"), [({"largest": 999_999}, "too-large"), ({"smallest": 1_000_001}, "too-small")]
)
async def test_a_file_of_another_size_is_refused_before_its_bytes_come(
    server: FileServer, pull: Any, bounds: dict[str, int], rule: str
) -> None:
    error = await pull.refused(**bounds, expected=42)
    assert error.rule == rule
    assert "1,000,000 bytes, the claim names about 42" in str(error)
    assert not pull.part.exists()


async def test_an_empty_file_is_refused(server: FileServer, pull: Any) -> None:
    server.data = b""
    assert (await pull.refused()).rule == "too-small"


async def test_a_body_without_an_end_is_refused_where_no_hash_can_tell_it(server: FileServer, pull: Any) -> None:
    server.script = [say(200, DATA)]
    assert (await pull.refused()).rule == "no-length"


async def test_a_body_without_an_end_is_taken_where_a_hash_can_tell_it(server: FileServer, pull: Any) -> None:
    server.script = [say(200, DATA)]
    assert (await pull(sha256=SHA)).size == len(DATA)


async def test_a_body_without_an_end_that_was_cut_is_asked_for_again(server: FileServer, pull: Any) -> None:
    server.script = [say(200, DATA[:-1])]
    assert (await pull(sha256=SHA)).size == len(DATA)
    assert len(server.asked) == 2


async def test_a_chunked_body_says_itself_where_it_ends(server: FileServer, pull: Any) -> None:
    server.script = [say(200, b"5\r\nhello\r\n0\r\n\r\n", Transfer_Encoding="chunked")]
    assert (await pull()).size == 5


async def test_a_chunked_body_that_is_cut_is_asked_for_again(server: FileServer, pull: Any) -> None:
    server.script = [say(200, b"5\r\n%b\r\n" % DATA[:5], ETag='"one"', Transfer_Encoding="chunked")]
    await pull()
    assert pull.dest.read_bytes() == DATA


async def test_a_wrong_hash_names_both_and_is_final(server: FileServer, pull: Any) -> None:
    error = await pull.failed(sha256="0" * 64)
    assert SHA in str(error)
    assert "0" * 64 in str(error)
    assert not error.retryable
    assert len(server.asked) == 1
    assert not pull.part.exists()


async def test_a_wrong_hash_of_what_came_in_two_pieces_is_worth_one_whole_try(server: FileServer, pull: Any) -> None:
    server.script = [up_to(900_000)]
    error = await pull.failed(sha256="0" * 64)
    assert [asked.start > 0 for asked in server.asked] == [False, True, False]
    assert not error.retryable


async def test_what_came_anew_after_a_resume_and_is_wrong_is_final(server: FileServer, pull: Any) -> None:
    server.script = [up_to(900_000), say(200, DATA, ETag='"two"', Content_Length=len(DATA))]
    await pull.failed(sha256="0" * 64)
    assert len(server.asked) == 2


async def test_first_bytes_that_are_no_model_end_the_transfer_at_once(server: FileServer, pull: Any) -> None:
    def look(first: bytes) -> None:
        raise ModelUnavailable("no model", retryable=False)

    server.data = DATA * 40
    with pytest.raises(ModelUnavailable, match="no model"):
        await pull(look=look)
    assert server.sent[0] < len(server.data) / 2
    assert not pull.part.exists()


async def test_a_whole_file_that_its_inspection_refuses_gets_no_name(server: FileServer, pull: Any) -> None:
    def inspect(path: Any) -> None:
        raise ModelUnavailable(f"{path.stat().st_size} bytes are no model", retryable=False)

    with pytest.raises(ModelUnavailable, match="1000000 bytes are no model"):
        await pull(inspect=inspect)
    assert not pull.part.exists()
    assert not pull.dest.exists()


async def test_a_file_that_took_the_name_meanwhile_is_never_overwritten(server: FileServer, pull: Any) -> None:
    def inspect(path: Any) -> None:
        pull.dest.write_bytes(b"precious")

    assert await pull(inspect=inspect) is None
    assert pull.dest.read_bytes() == b"precious"
    assert not pull.part.exists()


async def test_a_file_that_is_there_asks_nobody(server: FileServer, pull: Any) -> None:
    pull.dest.write_bytes(b"precious")
    assert await pull() is None
    assert server.asked == []
