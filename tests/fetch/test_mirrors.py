from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from studio_worker.errors import FetchRefused
from studio_worker.fetch.mirrors import Way, ways

from .file_server import DATA, FileServer, move, say, up_to

SHA = hashlib.sha256(DATA).hexdigest()
HUB = "https://hub.example/org/m/resolve/main/a.bin?download=true"


def test_a_host_without_mirrors_is_asked_itself() -> None:
    assert ways(HUB, {"other.example": ("https://m.example",)}) == (Way(HUB),)


def test_mirrors_take_the_place_of_the_host_in_their_order() -> None:
    found = ways(HUB, {"hub.example": ("https://m.example/hf/", "http://10.0.0.2:8080")})
    assert found == (
        Way("https://m.example/hf/org/m/resolve/main/a.bin?download=true", mirror="https://m.example"),
        Way("http://10.0.0.2:8080/org/m/resolve/main/a.bin?download=true", mirror="http://10.0.0.2:8080"),
    )


def test_a_host_among_its_own_mirrors_is_asked_as_the_studio_named_it() -> None:
    found = ways(HUB, {"hub.example": ("https://m.example", "https://hub.example")})
    assert found[1] == Way(HUB)


@pytest.mark.parametrize("host", ["HUB.example", "hub.example.", "ｈub.example", "hub.example:443"])
def test_every_spelling_of_a_host_has_its_mirrors(host: str) -> None:
    assert ways(f"https://{host}/a", {"hub.example": ("https://m.example",)})[0].mirror == "https://m.example"


@pytest.mark.parametrize("path", ["/../secret", "/a/%2e%2e/b", "/a/..%2fb", "/a/..%5cb", "/a\\..\\b"])
def test_no_path_leads_out_of_the_folder_of_a_mirror(path: str) -> None:
    with pytest.raises(FetchRefused, match="no mirror is asked for") as error:
        ways(f"https://hub.example{path}", {"hub.example": ("https://m.example/hf",)}, what="x")
    assert error.value.rule == "bad-url"


@pytest.mark.parametrize("url", ["http://[::1", "data:,x", "file:///etc/passwd", "nonsense"])
def test_what_is_no_web_address_is_left_to_the_guard(url: str) -> None:
    assert ways(url, {"hub.example": ("https://m.example",), "": ("https://m.example",)}) == (Way(url),)


@pytest.fixture
async def mirror() -> AsyncIterator[FileServer]:
    """A second server: the operator's mirror of hub.example."""
    made = FileServer()
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
def mirrored(pull: Any, server: FileServer, mirror: FileServer) -> Any:
    """Downloads from hub.example, whose mirrors are `mirror` and then `server`; both stand in a private network."""
    pull.settings = {"mirrors": {"hub.example": (f"{mirror.origin}/hf", f"{server.origin}/second")}}
    return pull


async def test_a_mirror_is_asked_first_and_may_stand_in_a_private_network(
    mirrored: Any, server: FileServer, mirror: FileServer
) -> None:
    await mirrored(HUB)
    assert [asked.path for asked in mirror.asked] == ["/hf/org/m/resolve/main/a.bin?download=true"]
    assert server.asked == []


@pytest.mark.parametrize("status", [401, 403, 404, 410, 451])
async def test_a_mirror_without_the_file_is_asked_once_and_the_next_one_serves(
    mirrored: Any, server: FileServer, mirror: FileServer, status: int
) -> None:
    mirror.script = [say(status, b"")] * 5
    await mirrored(HUB)
    assert len(mirror.asked) == 1
    assert [asked.path for asked in server.asked] == ["/second/org/m/resolve/main/a.bin?download=true"]
    assert mirrored.dest.read_bytes() == DATA


async def test_a_mirror_with_another_file_is_passed_over(mirrored: Any, server: FileServer, mirror: FileServer) -> None:
    mirror.data = DATA[::-1]
    await mirrored(HUB, sha256=SHA)
    assert mirrored.dest.read_bytes() == DATA


async def test_a_mirror_that_is_busy_takes_turns_with_the_next(
    mirrored: Any, server: FileServer, mirror: FileServer
) -> None:
    mirror.script = [say(503, b"", Retry_After="200")]
    server.script = [say(503, b"")]
    await mirrored(HUB)
    assert (len(mirror.asked), len(server.asked)) == (1, 2)
    assert sum(mirrored.clock.pauses) < 10


async def test_the_next_mirror_goes_on_where_the_first_was_cut_if_a_hash_tells_that_it_is_the_same_file(
    mirrored: Any, server: FileServer, mirror: FileServer
) -> None:
    mirror.script = [up_to(900_000)]
    await mirrored(HUB, sha256=SHA)
    assert server.asked[0].start > 0
    assert "if-range" not in server.asked[0].headers
    assert mirrored.dest.read_bytes() == DATA


async def test_the_next_mirror_begins_anew_where_no_hash_is_known(
    mirrored: Any, server: FileServer, mirror: FileServer
) -> None:
    mirror.script = [up_to(900_000)]
    await mirrored(HUB)
    assert server.ranges == [None]


async def test_where_no_mirror_has_the_file_the_last_refusal_is_the_answer(
    mirrored: Any, server: FileServer, mirror: FileServer
) -> None:
    mirror.script, server.script = [say(404, b"")], [say(451, b"")]
    error = await mirrored.failed(HUB)
    assert "answered 451" in str(error)
    assert not error.retryable


async def test_a_mirror_has_no_leave_to_lead_elsewhere_in_the_private_network(
    mirrored: Any, mirror: FileServer, tripwire: int
) -> None:
    mirrored.settings = {"mirrors": {"hub.example": (mirror.origin,)}}
    mirror.script = [move(f"https://127.0.0.1:{tripwire}/")]
    assert (await mirrored.refused(HUB)).rule == "private-address"
