from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from .file_server import DATA, FileServer, head, say, up_to

SHA = hashlib.sha256(DATA).hexdigest()


@pytest.mark.parametrize("percent", [30, 60, 90])
async def test_after_a_cut_only_what_is_missing_is_served_again(server: FileServer, pull: Any, percent: int) -> None:
    server.data = DATA * 4
    server.script = [up_to(len(server.data) * percent // 100)]
    await pull()
    assert pull.dest.read_bytes() == server.data
    assert server.ranges[0] is None
    assert server.asked[1].start == server.sent[0]
    assert server.sent[1] == len(server.data) - server.asked[1].start


async def test_a_server_that_cuts_every_connection_early_gets_through(server: FileServer, pull: Any) -> None:
    server.script = [up_to(end) for end in (300_000, 600_000, 900_000)]
    await pull()
    assert [asked.start for asked in server.asked] == [0, 300_000, 600_000, 900_000]
    assert pull.dest.read_bytes() == DATA


async def test_what_came_of_a_body_without_a_length_reaches_the_part_too(server: FileServer, pull: Any) -> None:
    server.script = [chunked(300_000), say(404, b"")]
    await pull.failed(sha256=SHA)
    assert pull.part.read_bytes() == DATA[:300_000]


async def test_what_came_before_a_cut_is_asked_for_under_the_condition_that_nothing_changed(
    server: FileServer, pull: Any
) -> None:
    server.script = [up_to(900_000)]
    await pull()
    assert "if-range" not in server.asked[0].headers
    assert server.asked[1].headers["if-range"] == '"one"'


async def test_the_date_of_the_last_change_serves_where_there_is_no_strong_etag(server: FileServer, pull: Any) -> None:
    date = "Mon, 05 Jan 2026 08:00:00 GMT"
    server.script = [say(200, DATA[:900_000], ETag='W/"weak"', Last_Modified=date, Content_Length=len(DATA))]
    server.etag = date
    await pull()
    assert server.asked[1].headers["if-range"] == date
    assert pull.dest.read_bytes() == DATA


async def test_a_file_that_nothing_identifies_is_never_continued(server: FileServer, pull: Any) -> None:
    server.script = [say(200, DATA[:900_000], Content_Length=len(DATA))]
    await pull()
    assert server.ranges == [None, None]
    assert pull.dest.read_bytes() == DATA


async def test_the_hash_of_the_claim_identifies_a_file_without_an_etag(server: FileServer, pull: Any) -> None:
    server.script = [say(200, DATA[:900_000], Content_Length=len(DATA))]
    await pull(sha256=SHA)
    assert server.ranges[1] is not None
    assert "if-range" not in server.asked[1].headers


async def test_another_claim_goes_on_with_the_part_of_an_earlier_one(server: FileServer, pull: Any) -> None:
    server.script = [up_to(900_000), say(404, b"")]
    await pull.failed(sha256=SHA)
    await pull(f"{server.origin}/elsewhere?sig=other", sha256=SHA)
    assert server.asked[2].start > 0
    assert pull.dest.read_bytes() == DATA


async def test_a_part_of_another_hash_is_dropped(server: FileServer, pull: Any) -> None:
    server.script = [up_to(900_000), say(404, b"")]
    await pull.failed(sha256="0" * 64)
    await pull(sha256=SHA)
    assert server.ranges[2] is None
    assert pull.dest.read_bytes() == DATA


async def test_a_part_from_another_address_is_dropped_where_no_hash_is_given(server: FileServer, pull: Any) -> None:
    server.script = [up_to(900_000), say(401, b"")]
    await pull.failed()
    await pull(f"{server.origin}/other")
    assert server.ranges[2] is None


async def test_a_changed_etag_starts_over_with_the_new_file(server: FileServer, pull: Any) -> None:
    server.script = [up_to(900_000), say(401, b"")]
    await pull.failed()
    server.data, server.etag = DATA[::-1], '"two"'
    await pull()
    assert server.asked[2].headers["if-range"] == '"one"'
    assert pull.dest.read_bytes() == DATA[::-1]
    assert len(server.asked) == 3


async def test_a_range_that_is_ignored_starts_over_and_never_appends(server: FileServer, pull: Any) -> None:
    server.script = [up_to(900_000), say(200, ETag='"one"', Content_Length=len(DATA))]
    await pull()
    assert server.ranges[1] is not None
    assert pull.dest.read_bytes() == DATA
    assert len(server.asked) == 2


async def test_a_range_of_a_changed_file_is_not_appended_though_the_server_says_so(
    server: FileServer, pull: Any
) -> None:
    other = DATA[::-1]

    async def deaf(server: FileServer, asked: Any, writer: Any) -> None:
        said = f"bytes {asked.start}-{len(DATA) - 1}/{len(DATA)}"
        await say(206, other[asked.start :], ETag='"two"', Content_Range=said)(server, asked, writer)

    server.script = [up_to(900_000), deaf]
    await pull()
    assert pull.dest.read_bytes() == DATA
    assert server.ranges[2] is None


async def test_a_range_of_a_file_of_another_length_is_not_appended(server: FileServer, pull: Any) -> None:
    async def longer(server: FileServer, asked: Any, writer: Any) -> None:
        said = f"bytes {asked.start}-{len(DATA) + 99}/{len(DATA) + 100}"
        await say(206, bytes(len(DATA) + 100 - asked.start), Content_Range=said)(server, asked, writer)

    server.script = [up_to(900_000), longer]
    await pull()
    assert pull.dest.read_bytes() == DATA


@pytest.mark.parametrize(
    "said", ["bytes 0-999999/1000000", "bytes 5-4/1000000", "items 1-2/3", "", "bytes ²-3/4", "bytes 1-/4"]
)
async def test_a_wrong_content_range_starts_over(server: FileServer, pull: Any, said: str) -> None:
    server.script = [up_to(900_000), say(206, b"x" * 100, ETag='"one"', Content_Range=said, Content_Length=100)]
    await pull()
    assert pull.dest.read_bytes() == DATA
    assert server.ranges[2] is None


async def test_a_range_that_nobody_asked_for_is_not_taken_for_the_file(server: FileServer, pull: Any) -> None:
    server.script = [say(206, DATA[500:], Content_Range=f"bytes 500-{len(DATA) - 1}/{len(DATA)}")]
    await pull()
    assert pull.dest.read_bytes() == DATA


async def test_a_range_shorter_than_the_rest_is_kept_and_the_rest_is_asked_for(server: FileServer, pull: Any) -> None:
    async def some(server: FileServer, asked: Any, writer: Any) -> None:
        end = asked.start + 50_000
        said = f"bytes {asked.start}-{end - 1}/{len(DATA)}"
        data = DATA[asked.start : end]
        await say(206, data, ETag='"one"', Content_Range=said, Content_Length=len(data))(server, asked, writer)

    server.script = [up_to(900_000), some]
    await pull()
    assert pull.dest.read_bytes() == DATA
    assert server.asked[2].start == server.asked[1].start + 50_000


def range_of_unknown(end: int) -> Any:
    """The bytes up to `end`, of a file of which the server does not say how long it is."""

    async def answer(server: FileServer, asked: Any, writer: Any) -> None:
        data = DATA[asked.start : end]
        said = f"bytes {asked.start}-{asked.start + len(data) - 1}/*"
        headers = {"ETag": '"one"', "Content_Range": said, "Content_Length": len(data)}
        await say(206, data, **headers)(server, asked, writer)

    return answer


def chunked(end: int) -> Any:
    """The file without a word about its length, until the connection ends with its byte `end`."""

    async def answer(server: FileServer, asked: Any, writer: Any) -> None:
        writer.write(head(200, ETag='"one"', Transfer_Encoding="chunked"))
        await server.body(writer, b"%x\r\n%b\r\n" % (end, DATA[:end]))

    return answer


async def test_the_end_of_a_range_is_not_the_end_of_a_file_whose_length_nobody_says(
    server: FileServer, pull: Any
) -> None:
    server.script = [chunked(900_000), range_of_unknown(950_000)]
    await pull()
    assert pull.dest.read_bytes() == DATA
    assert server.ranges == [None, server.ranges[1], None]


async def test_the_first_answer_says_where_the_ranges_of_unknown_length_end(server: FileServer, pull: Any) -> None:
    server.script = [up_to(900_000), range_of_unknown(950_000), range_of_unknown(len(DATA))]
    await pull()
    assert pull.dest.read_bytes() == DATA
    assert server.asked[2].start == 950_000


async def test_a_hash_says_where_the_ranges_of_unknown_length_end(server: FileServer, pull: Any) -> None:
    server.script = [chunked(900_000), range_of_unknown(len(DATA))]
    await pull(sha256=SHA)
    assert pull.dest.read_bytes() == DATA
    assert len(server.asked) == 2


async def test_a_range_that_ends_behind_its_file_starts_over(server: FileServer, pull: Any) -> None:
    async def beyond(server: FileServer, asked: Any, writer: Any) -> None:
        said = f"bytes {asked.start}-{len(DATA) + 9}/*"
        await say(206, bytes(len(DATA) + 10 - asked.start), ETag='"one"', Content_Range=said)(server, asked, writer)

    server.script = [up_to(900_000), beyond]
    await pull()
    assert pull.dest.read_bytes() == DATA
    assert server.ranges[2] is None


async def test_a_416_that_names_another_length_starts_over(server: FileServer, pull: Any) -> None:
    server.script = [up_to(900_000), say(416, b"", Content_Range="bytes */100")]
    await pull()
    assert server.ranges[2] is None
    assert pull.dest.read_bytes() == DATA


async def test_a_416_that_names_what_is_here_completes_the_file(server: FileServer, pull: Any) -> None:
    server.script = [up_to(900_000), say(401, b"")]
    await pull.failed()
    have = pull.part.stat().st_size
    note = pull.dest.parent / ".downloads" / "a.bin.json"
    note.write_text(json.dumps({**json.loads(note.read_text()), "total": None}))
    server.script = [say(416, b"", Content_Range=f"bytes */{have}")]
    got = await pull()
    assert (got.size, pull.dest.read_bytes()) == (have, DATA[:have])


async def test_a_part_that_is_whole_already_asks_nobody(server: FileServer, pull: Any) -> None:
    server.script = [up_to(900_000), say(404, b"")]
    await pull.failed(sha256=SHA)
    pull.part.write_bytes(DATA)
    await pull(sha256=SHA)
    assert len(server.asked) == 2
    assert pull.dest.read_bytes() == DATA


async def test_a_part_that_was_spoilt_meanwhile_is_found_by_its_hash_and_fetched_anew(
    server: FileServer, pull: Any
) -> None:
    server.script = [up_to(900_000), say(404, b"")]
    await pull.failed(sha256=SHA)
    have = pull.part.stat().st_size
    pull.part.write_bytes(bytes(have))
    await pull(sha256=SHA)
    assert pull.dest.read_bytes() == DATA
    assert server.ranges[2:] == [f"bytes={have}-", None]


async def test_a_part_longer_than_the_file_is_dropped(server: FileServer, pull: Any) -> None:
    server.script = [up_to(900_000), say(404, b"")]
    await pull.failed(sha256=SHA)
    pull.part.write_bytes(DATA + b"more")
    await pull(sha256=SHA)
    assert server.ranges[2] is None


async def test_a_part_without_a_note_is_not_trusted(server: FileServer, pull: Any) -> None:
    pull.part.write_bytes(b"x" * 500)
    await pull()
    assert server.ranges == [None]
    assert pull.dest.read_bytes() == DATA


@pytest.mark.parametrize(
    "note", [b"", b"\xff", b"[1]", b'{"source": 5, "validator": ""}', b'{"source": "x"}', b"{" * 9_000]
)
async def test_a_note_that_cannot_be_read_is_none(server: FileServer, pull: Any, note: bytes) -> None:
    pull.part.write_bytes(b"x" * 500)
    (pull.dest.parent / ".downloads").mkdir()
    (pull.dest.parent / ".downloads" / "a.bin.json").write_bytes(note)
    await pull()
    assert server.ranges == [None]


async def test_a_note_says_nothing_of_the_signature_in_a_url(server: FileServer, pull: Any) -> None:
    server.script = [up_to(900_000), say(401, b"")]
    await pull.failed()
    note = (pull.dest.parent / ".downloads" / "a.bin.json").read_text()
    assert "secret" not in note
    assert server.origin not in note


async def test_nothing_is_left_beside_a_file_that_has_come(server: FileServer, pull: Any) -> None:
    server.script = [up_to(900_000)]
    await pull()
    left = {path.name for path in pull.dest.parent.rglob("*")}
    assert left <= {"a.bin", ".downloads", "a.bin.lock"}


async def test_progress_never_passes_the_total_and_ends_with_it(server: FileServer, pull: Any) -> None:
    server.script = [up_to(400_000), up_to(700_000)]
    await pull()
    assert all(total == len(DATA) and done <= total for done, total in pull.told)
    assert pull.told[-1] == (len(DATA), len(DATA))


async def test_an_etag_that_cannot_be_sent_back_identifies_nothing(server: FileServer, pull: Any) -> None:
    server.script = [say(200, DATA[:900_000], ETag='"\xff"', Content_Length=len(DATA))]
    await pull()
    assert server.ranges == [None, None]
    assert pull.dest.read_bytes() == DATA
